"""The Python server SDK: every call it has."""

import json

import pytest
from conftest import DEADLINE, KEY, SECRET, Inbox, Subscription, eventually
from pusher.errors import PusherBadAuth, PusherBadRequest


def test_trigger_answers_an_empty_object_and_is_heard(sdk, connect):
    room = Subscription(connect(), "py-room", "event")
    assert sdk.trigger("py-room", "event", {"text": "漢字 🛎️"}) == {}
    assert json.loads(room.take("event")) == {"text": "漢字 🛎️"}


def test_trigger_to_several_channels_leaves_out_the_connection_it_names(sdk, connect):
    client = connect()
    mine = Subscription(client, "py-others-1", "event", "marker")
    theirs = Subscription(connect(), "py-others-2", "event")
    channels = ["py-others-1", "py-others-2"]
    assert sdk.trigger(channels, "event", "x", client.connection.socket_id) == {}
    sdk.trigger("py-others-1", "marker", "m")
    assert theirs.take("event") == "x"
    mine.take("marker")
    assert mine.inboxes["event"].items.empty()


def test_trigger_batch_is_delivered_in_its_order(sdk, connect):
    room = Subscription(connect(), "py-batch", "n")
    batch = [{"channel": "py-batch", "name": "n", "data": str(n)} for n in range(10)]
    assert sdk.trigger_batch(batch) == {}
    assert [room.take("n") for _ in range(10)] == [str(n) for n in range(10)]


def test_channels_info_counts_presence_channels(sdk, connect):
    Subscription(connect(user_data={"user_id": "ann"}), "presence-py-list")
    listed = sdk.channels_info("presence-py-list", ["user_count"])
    assert listed == {"channels": {"presence-py-list": {"user_count": 1}}}
    assert "presence-py-list" in sdk.channels_info()["channels"]


def test_channel_info_tells_occupied_and_counts(sdk, connect):
    Subscription(connect(), "py-info")
    info = sdk.channel_info("py-info", ["subscription_count"])
    assert info == {"occupied": True, "subscription_count": 1}
    assert sdk.channel_info("py-nobody") == {"occupied": False}


def test_users_info_lists_the_users(sdk, connect):
    Subscription(connect(user_data={"user_id": "ann"}), "presence-py-users")
    assert sdk.users_info("presence-py-users") == {"users": [{"id": "ann"}]}


def test_a_wrong_secret_and_a_bad_question_raise_what_the_sdk_documents(server, sdk):
    with pytest.raises(PusherBadRequest):
        sdk.users_info("py-not-presence")
    stranger = server.sdk()
    stranger._pusher_client._secret = "wrong"
    with pytest.raises(PusherBadAuth):
        stranger.trigger("room", "event", "x")
    with pytest.raises(PusherBadAuth):
        stranger.channels_info()


def test_send_to_user_and_terminate_user_connections_reach_the_signed_in_user(sdk, connect):
    client = connect()
    connection = client.connection
    signed_in, message, error = Inbox(), Inbox(), Inbox()
    connection.bind("pusher:signin_success", signed_in)
    connection.bind("pusher:error", error)
    signed = sdk.authenticate_user(connection.socket_id, {"id": "py-user"})
    connection.send_event("pusher:signin", signed)
    assert json.loads(signed_in.take()["user_data"])["id"] == "py-user"

    own = Subscription(client, "#server-to-user-py-user", "event")
    sdk.send_to_user("py-user", "event", "hello")
    assert own.take("event") == "hello"

    assert sdk.terminate_user_connections("py-user") == {}
    assert error.take()["code"] == 4009
    eventually(lambda: connection.state == "disconnected", "pysher is disconnected")


def test_an_encrypted_trigger_stays_encrypted(sdk, connect):
    vault = Subscription(connect(), "private-encrypted-py", "event")
    sdk.trigger("private-encrypted-py", "event", {"secret": 1})
    assert set(json.loads(vault.take("event"))) == {"nonce", "ciphertext"}


def test_a_webhook_is_valid(sdk, connect, webhooks):
    Subscription(connect(), "py-webhook")
    while True:
        headers, body = webhooks.get(timeout=DEADLINE)
        signature = headers["X-Pusher-Signature"]
        assert headers["X-Pusher-Key"] == KEY
        events = sdk.validate_webhook(KEY, signature, body)["events"]
        # Ours beside Pusher's: which edge it is, and its place among the channel's.
        assert all(len(event["id"]) == 32 and event["seq"] > 0 for event in events)
        if ("channel_occupied", "py-webhook") in [(e["name"], e["channel"]) for e in events]:
            break
    assert sdk.validate_webhook(KEY, signature, body + " ") is None
    assert SECRET not in body
