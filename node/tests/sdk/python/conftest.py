"""A real server for the Python SDKs, and waiting."""

import contextlib
import itertools
import json
import os
import queue
import socket
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pusher
import pysher
import pytest

NODES = int(os.environ.get("HANDBELL_NODES", "1"))
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


class Heard(dict):
    """An inbox for each key, the same one in every thread."""

    def __missing__(self, key):
        return self.setdefault(key, Inbox())


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


class Node:
    """A running `handbell serve`."""

    def __init__(self, config, *settings):
        arguments = [os.environ["HANDBELL_BIN"], "serve", "--config", config]
        for setting in settings:
            arguments += ["--set", setting]
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        self.said = self._serving()
        self.port = int(self.said["clients"].rsplit(":", 1)[1])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def _serving(self):
        for line in self.process.stderr:
            fields = json.loads(line)["fields"] if line.startswith("{") else {}
            if fields.get("message") == "serving":
                return fields
        pytest.fail("the server has ended")

    def is_one_of(self, count):
        """Whether the node sees so many and serves what is its own among them."""
        with urllib.request.urlopen(f"http://{self.said['admin']}/cluster") as answer:
            status = json.load(answer)
        members = {member["id"]: member for member in status["view"]["members"]}
        is_serving = all(member["phase"] == "serving" for member in members.values())
        share = members.get(status["node"]["id"], {}).get("slots")
        return len(members) == count and is_serving and share == status["slots_owned"]


class Balancer:
    """A TCP balancer: each new connection goes to the next of the ports."""

    def __init__(self, ports):
        self.ports = itertools.cycle(ports)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", next(self.ports)))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source, sink):
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Server:
    """One node, or as many as HANDBELL_NODES says: one cluster behind a balancer."""

    def __init__(self, directory, sink_port):
        config = directory / "config.toml"
        config.write_text(CONFIG % sink_port)
        if NODES == 1:
            self.nodes = [Node(config)]
            self.port = self.nodes[0].port
        else:
            self.nodes = []
            for _ in range(NODES):
                self.nodes.append(self._join(config))
            self.port = Balancer([node.port for node in self.nodes]).port
        for node in self.nodes:
            eventually(lambda node=node: node.is_one_of(NODES), "the nodes are one cluster")

    def _join(self, config):
        seeds = [node.said["cluster"] for node in self.nodes]
        return Node(
            config,
            f"cluster.node_id=node-{len(seeds) + 1}",
            "cluster.listen=127.0.0.1:0",
            f"cluster.seeds={json.dumps(seeds)}",
            "cluster.secret=what all nodes of the tests know",
            # Whoever knows others waits for them.
            f"cluster.bootstrap_after={'60s' if seeds else '0ms'}",
        )

    def stop(self):
        for node in self.nodes:
            node.process.kill()
            node.process.wait()

    def sdk(self, **options):
        """The server SDK."""
        defaults = {"host": "127.0.0.1", "port": self.port, "ssl": False}
        defaults["encryption_master_key_base64"] = MASTER_KEY
        return pusher.Pusher(APP_ID, KEY, SECRET, **{**defaults, **options})

    def client(self, **options):
        """A pysher client that is connected."""
        defaults = {"custom_host": "127.0.0.1", "port": self.port, "secure": False, "secret": SECRET}
        client = pysher.Pusher(KEY, **{**defaults, **options})
        client.heard = Heard()
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
    running.stop()


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
