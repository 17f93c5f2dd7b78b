"""Pysher, a client that speaks protocol 6 and decodes every internal event's data from a string."""

import json

from conftest import Subscription, eventually


def test_public_events_arrive_as_the_text_that_was_published(sdk, connect):
    room = Subscription(connect(), "pysher-room", "event")
    assert room.ack == {}
    sdk.trigger("pysher-room", "event", '{"b": 1.0,  "a":1}')
    assert room.take("event") == '{"b": 1.0,  "a":1}'


def test_private_events_arrive_and_client_events_reach_the_others(sdk, connect):
    first = Subscription(connect(), "private-pysher", "event", "client-typing", "marker")
    second = Subscription(connect(), "private-pysher", "client-typing")
    sdk.trigger("private-pysher", "event", "x")
    assert first.take("event") == "x"
    first.channel.trigger("client-typing", {"k": 1})
    assert second.take("client-typing") == {"k": 1}
    sdk.trigger("private-pysher", "marker", "m")
    first.take("marker")
    assert first.inboxes["client-typing"].items.empty()


def test_a_wrong_secret_is_refused_on_the_channel(connect):
    client = connect(secret="wrong")
    client.subscribe("private-pysher-refused")
    refused = client.heard["private-pysher-refused", "pusher:subscription_error"]
    assert refused.take()["status"] == 401


def test_presence_tells_who_is_here_who_comes_and_who_goes(connect):
    events = ("pusher_internal:member_added", "pusher_internal:member_removed")
    ann = {"user_id": "ann", "user_info": {"name": "Ann"}}
    bob = {"user_id": "bob", "user_info": {"name": "Bob"}}
    first = Subscription(connect(user_data=ann), "presence-pysher", *events)
    other = connect(user_data=bob)
    second = Subscription(other, "presence-pysher")
    presence = second.ack["presence"]
    assert sorted(presence["ids"]) == ["ann", "bob"]
    assert presence["hash"] == {"ann": {"name": "Ann"}, "bob": {"name": "Bob"}}
    assert presence["count"] == 2
    assert json.loads(first.take(events[0])) == bob
    other.disconnect(timeout=1)
    assert json.loads(first.take(events[1])) == {"user_id": "bob"}


def test_nothing_comes_after_an_unsubscribe(sdk, connect):
    client = connect()
    left = Subscription(client, "pysher-left", "event")
    kept = Subscription(client, "pysher-kept", "marker")
    client.unsubscribe("pysher-left")
    eventually(lambda: not sdk.channel_info("pysher-left")["occupied"], "the channel is empty")
    sdk.trigger("pysher-left", "event", "x")
    sdk.trigger("pysher-kept", "marker", "m")
    kept.take("marker")
    assert left.inboxes["event"].items.empty()


def test_the_ping_that_pysher_sends_first_is_answered(connect):
    connection = connect().connection
    eventually(lambda: connection.pong_received, "a pong")
