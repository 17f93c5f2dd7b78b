"""The doors of tokens, with Python's usual clients: python-socketio, websockets and httpx."""

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import socketio
import websockets
from conftest import DEADLINE, SECRET, Inbox, eventually

# A script as it is given to back-end teams, but for its address and its token.
HEARTBEAT = '''
# 測試腳本
import asyncio
import websockets
import json

async def test_heartbeat():
    uri = "ws://localhost:8000/ws?token=YOUR_TOKEN"
    async with websockets.connect(uri) as websocket:
        # 發送 ping
        await websocket.send(json.dumps({"type": "ping"}))
        # 接收 pong
        response = await websocket.recv()
        print(f"Received: {response}")  # 應該收到 {"type": "pong"}

asyncio.run(test_heartbeat())
'''


def token(sub, secret=SECRET, **claims):
    """A JWT that an application signs for its user; for everything, unless it says something else."""

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"sub": sub, "exp": int(time.time()) + 3600, "permissions": ["*"], **claims}
    head = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(claims).encode())
    return f"{head}.{part(hmac.digest(secret.encode(), head.encode(), hashlib.sha256))}"


@pytest.fixture
def http(server):
    """httpx, with a token."""
    headers = {"Authorization": f"Bearer {token('py')}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=DEADLINE) as client:
        yield client


def publish(http, channel, data):
    answer = http.post("/api/realtime/publish", json={"channel": channel, "event": "event", "data": data})
    assert answer.status_code == 200, answer.text
    return answer.json()


@contextmanager
def socket_io(server, transport, jwt, **options):
    """A python-socketio client, whose requests meet any node."""
    client = socketio.Client(**options)
    inboxes = {name: Inbox() for name in ("connected", "message", "subscribed", "heartbeat_ack", "disconnect")}
    for name, inbox in inboxes.items():
        # The place comes as one more argument.
        client.on(name, lambda data=None, *_, inbox=inbox: inbox(data))
    url = f"http://127.0.0.1:{server.port}"
    client.connect(url, auth={"token": jwt}, transports=[transport], wait_timeout=DEADLINE)
    try:
        yield client, inboxes
    finally:
        client.disconnect()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_python_socketio_subscribes_publishes_and_hears(server, transport):
    topic = f"public:py-{transport}"
    with socket_io(server, transport, f"Bearer {token('ann')}") as (client, heard):
        assert heard["connected"].take()["user"] == {"id": "ann"}
        answer = client.call("subscribe", {"topic": topic}, timeout=DEADLINE)
        assert answer == {"status": "success", "subscriberCount": 1}
        payload = {"type": "text", "content": "漢字 🛎️"}
        answer = client.call("publish", {"topic": topic, "payload": payload}, timeout=DEADLINE)
        assert answer == {"status": "success", "deliveredTo": 1}
        message = heard["message"].take()
        assert set(message) == {"id", "topic", "type", "payload", "timestamp", "from", "seq"}
        assert (message["topic"], message["payload"], message["from"], message["seq"]) == (topic, payload, "ann", 1)
        client.emit("heartbeat", {"timestamp": 17})
        assert heard["heartbeat_ack"].take() == {"timestamp": 17}
        answer = client.call("subscribe", {"topic": "no spaces"}, timeout=DEADLINE)
        assert (answer["status"], answer["error"]) == ("error", "channel_not_found")


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_python_socketio_is_told_that_its_token_is_wrong(server, transport):
    client = socketio.Client(reconnection=False)
    refused = Inbox()
    client.on("connect_error", refused)
    url = f"http://127.0.0.1:{server.nodes[0].port}"
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(url, auth={"token": token("ann", secret="wrong")}, transports=[transport])
    assert "Authentication failed" in refused.take()["message"]


def test_the_heartbeat_script_prints_a_pong(server):
    script = HEARTBEAT.replace("localhost:8000", f"127.0.0.1:{server.port}").replace("YOUR_TOKEN", token("ann"))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=DEADLINE)
    assert ran.returncode == 0, ran.stderr
    said, received = ran.stdout.strip().split(": ", 1)
    assert (said, json.loads(received)) == ("Received", {"type": "pong"})


def test_websockets_hears_and_goes_on_where_it_was(server, http):
    channel = "py-websockets"
    uri = f"ws://127.0.0.1:{server.port}/ws?token={token('ann')}"

    async def hear(since, data):
        async with asyncio.timeout(DEADLINE), websockets.connect(uri) as socket:
            await socket.send(json.dumps({"type": "subscribe", "channel": channel, "since": since}))
            subscribed = json.loads(await socket.recv())
            assert subscribed["type"] == "subscribed"
            if data is not None:
                await asyncio.to_thread(publish, http, channel, data)
            event = json.loads(await socket.recv())
            return subscribed, event

    first, one = asyncio.run(hear(None, 1))
    assert "recovered" not in first
    assert (one["type"], one["data"], one["seq"]) == ("event", 1, 1)
    publish(http, channel, 2)
    again, two = asyncio.run(hear(one["position"], None))
    assert again["recovered"] is True
    assert (two["data"], two["seq"]) == (2, 2)


def test_websockets_is_refused_without_a_token_before_the_upgrade(server):
    async def connect():
        async with websockets.connect(f"ws://127.0.0.1:{server.port}/ws"):
            pytest.fail("it was let in")

    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        asyncio.run(connect())
    assert refused.value.response.status_code == 401


def test_httpx_polls_every_event_once(http):
    channel = "py-poll"

    def poll(place, wait):
        parameters = {"channels": channel, "lastMessageId": place, "wait": wait}
        body = http.get("/api/realtime/poll", params=parameters).raise_for_status().json()
        assert set(body) == {"events", "timestamp"}
        return body["events"]

    (subscribed,) = poll("", 0)
    assert (subscribed["type"], subscribed["channel"]) == ("subscribed", channel)
    place, heard = subscribed["id"], []
    for n in range(1, 6):
        publish(http, channel, n)
        if n % 2 == 1:
            for event in poll(place, 0):
                place = event["id"]
                heard.append(event["data"])
    assert heard == [1, 2, 3, 4, 5]
    assert poll(place, 0) == []
    # One that waits is answered when something comes.
    answers = Inbox()
    waiting = threading.Thread(target=lambda: answers(poll(place, 10)))
    waiting.start()
    publish(http, channel, 6)
    assert [event["data"] for event in answers.take()] == [6]
    waiting.join()


def events_of(lines):
    """Reads an event stream by the rules of the standard."""
    event = {"event": "message", "data": []}
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if event["data"]:
                yield {**event, "data": json.loads("\n".join(event["data"]))}
            event = {"event": "message", "data": []}
        elif name == "data":
            event["data"].append(value)
        elif name in ("event", "id"):
            event[name] = value


def test_httpx_reads_a_stream_and_goes_on_where_it_was(http, sdk):
    channel = "py-stream"

    def is_there():
        return sdk.channel_info(channel, ["subscription_count"]).get("subscription_count")

    with http.stream("GET", f"/sse/{channel}") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        eventually(is_there, "the stream is subscribed")
        publish(http, channel, {"text": "漢字\n🛎️"})
        first = next(events_of(answer.iter_lines()))
    assert (first["event"], first["data"]) == ("event", {"text": "漢字\n🛎️"})
    eventually(lambda: not is_there(), "the stream is gone")
    for n in (2, 3):
        publish(http, channel, n)
    with http.stream("GET", f"/sse/{channel}", headers={"Last-Event-ID": first["id"]}) as answer:
        stream = events_of(answer.iter_lines())
        assert [next(stream)["data"], next(stream)["data"]] == [2, 3]


def test_httpx_is_told_403_before_a_stream_begins(server):
    jwt = token("guest", permissions=[], role="guest")
    answer = httpx.get(f"http://127.0.0.1:{server.port}/sse/private:room", headers={"Authorization": f"Bearer {jwt}"})
    assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")
