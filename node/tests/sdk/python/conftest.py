"""A real server for the Python SDKs, and waiting."""

import json
import os
import queue
import subprocess
import threading
import time
import urllib.request
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, HTTPServer

import pusher
import pysher
import pytest

APP_ID, KEY, SECRET = "42", "test-key", "test-secret"
MASTER_KEY = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
DEADLINE = 15

CONFIG = f"""
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[[apps]]
id = "{APP_ID}"
key = "{KEY}"
secret = "{SECRET}"
[[apps.webhooks]]
url = "http://127.0.0.1:%d/"
events = ["channel_occupied"]
allow_private_address = true
"""


def eventually(condition, what="the condition"):
    """Waits until `condition()` gives something true, and returns that."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    pytest.fail(f"not within {DEADLINE} s: {what}")


class Inbox:
    """What callbacks are called with, in order."""

    def __init__(self):
        self.items = queue.Queue()

    def __call__(self, data):
        self.items.put(data)

    def take(self):
        return self.items.get(timeout=DEADLINE)


class Subscription:
    """A pysher channel that the server has agreed to."""

    def __init__(self, client, name, *events):
        self.channel = client.subscribe(name)
        self.inboxes = {event: Inbox() for event in events}
        for event, inbox in self.inboxes.items():
            self.channel.bind(event, inbox)
        self.ack = json.loads(client.heard[name, "pusher_internal:subscription_succeeded"].take())

    def take(self, event):
        return self.inboxes[event].take()


class Server:
    """A running `handbell serve`."""

    def __init__(self, directory, sink_port):
        config = directory / "config.toml"
        config.write_text(CONFIG % sink_port)
        arguments = [os.environ["HANDBELL_BIN"], "serve", "--config", config]
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        self.port = self._port()
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        eventually(self._is_ready, "the server is ready")

    def _port(self):
        for line in self.process.stderr:
            fields = json.loads(line)["fields"] if line.startswith("{") else {}
            if fields.get("message") == "serving":
                return int(fields["clients"].rsplit(":", 1)[1])
        pytest.fail("the server has ended")

    def _is_ready(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready") as answer:
            return answer.status == 200

    def sdk(self, **options):
        """The server SDK."""
        defaults = {"host": "127.0.0.1", "port": self.port, "ssl": False}
        defaults["encryption_master_key_base64"] = MASTER_KEY
        return pusher.Pusher(APP_ID, KEY, SECRET, **{**defaults, **options})

    def client(self, **options):
        """A pysher client that is connected."""
        defaults = {"custom_host": "127.0.0.1", "port": self.port, "secure": False, "secret": SECRET}
        client = pysher.Pusher(KEY, **{**defaults, **options})
        client.heard = defaultdict(Inbox)
        handle = client.connection.event_handler

        # An answer can be here before `subscribe` has returned a channel to bind it on.
        def keep(event, data, channel):
            client.heard[channel, event](data)
            handle(event, data, channel)

        client.connection.event_handler = keep
        client.connect()
        eventually(lambda: client.connection.state == "connected", "pysher is connected")
        return client


@pytest.fixture(scope="session")
def webhooks():
    """The webhooks that were delivered, as (headers, body)."""
    deliveries = queue.Queue()

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            deliveries.put((self.headers, body.decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    sink = HTTPServer(("127.0.0.1", 0), Sink)
    deliveries.port = sink.server_port
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    yield deliveries
    sink.shutdown()


@pytest.fixture(scope="session")
def server(tmp_path_factory, webhooks):
    running = Server(tmp_path_factory.mktemp("handbell"), webhooks.port)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def sdk(server):
    return server.sdk()


@pytest.fixture
def connect(server):
    """Makes pysher clients, and disconnects them in the end."""
    clients = []

    def make(**options):
        clients.append(server.client(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.disconnect(timeout=1)
