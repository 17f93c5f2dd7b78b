"""The Python client against the fixture, over each way that its transports can go."""

import os
import threading
import time

import socketio


def check(transports):
    client = socketio.Client(reconnection=False)
    numbers, auths = [], []
    greeted, done = threading.Event(), threading.Event()
    client.on("auth", lambda auth: (auths.append(auth), greeted.set()))
    client.on("message-back", lambda n: (numbers.append(n), n == 99 and done.set()))
    client.connect(os.environ["FIXTURE"], transports=transports, auth={"token": "x"})
    assert greeted.wait(10) and auths == [{"token": "x"}], auths
    sent = [1, b"\x01\x02", {"é": [b"", None]}]
    assert list(client.call("message-with-ack", tuple(sent))) == sent
    for n in range(100):
        client.emit("message", n)
    assert done.wait(10) and numbers == list(range(100)), numbers
    time.sleep(1.2)
    assert client.connected, "it lives longer than its heartbeat"
    assert client.transport() == transports[-1]
    client.disconnect()


for ways in (["polling"], ["websocket"], ["polling", "websocket"]):
    check(ways)
    print("ok:", " then ".join(ways))
