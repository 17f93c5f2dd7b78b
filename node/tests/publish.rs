//! Publishing through the HTTP API: what reaches subscribers, once, in order, and what is answered.

mod support;

use serde_json::json;
use support::*;

#[tokio::test]
async fn events_arrive_in_the_order_of_the_answers_and_byte_equal() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.subscribe("room").await;
    for number in 0..50 {
        publish(&node, "room", &format!(r#"{{"n": {number},"ü":"\u00e9"}}"#)).await;
    }
    for number in 0..50 {
        let event = client.event("event").await;
        assert_eq!(event["channel"], "room");
        assert_eq!(event["data"], format!(r#"{{"n": {number},"ü":"\u00e9"}}"#));
    }
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_a_list_reaches_every_channel_once() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.subscribe("a").await;
    client.subscribe("b").await;
    let batch: Vec<_> =
        (0..10).map(|n| json!({ "name": "n", "channel": "a", "data": n.to_string() })).collect();
    let body = json!({ "batch": batch }).to_string();
    let answer = signed(&node, "POST", "/apps/app-id/batch_events", &body, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    for n in 0..10 {
        assert_eq!(client.event("n").await["data"], n.to_string());
    }
    let body = json!({ "name": "m", "channels": ["a", "b", "a"], "data": "x" }).to_string();
    signed(&node, "POST", "/apps/app-id/events", &body, "").await;
    publish(&node, "b", "last").await;
    let mut channels = vec![client.message().await["channel"].clone()];
    channels.push(client.message().await["channel"].clone());
    channels.sort_by_key(ToString::to_string);
    assert_eq!(channels, ["a", "b"]);
    assert_eq!(client.message().await["data"], "last");
}

#[tokio::test]
async fn a_keyed_publish_takes_effect_once_and_its_key_belongs_to_one_body() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.subscribe("room").await;
    client.subscribe("cache-room").await;
    let body = json!({
        "name": "event", "channels": ["room", "cache-room", "nobody"], "data": "once",
        "info": "subscription_count", "idempotency_key": "k1",
    });
    let send = async |body: &str, headers: &str| {
        signed(&node, "POST", "/apps/app-id/events", body, headers).await
    };
    let first = send(&body.to_string(), "").await;
    assert_eq!(first.status, 200);
    // A repetition gets the first answer, though there is one more subscriber.
    Client::connect(&node).await.subscribe("room").await;
    let second = send(&body.to_string(), "").await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    let other = body.to_string().replace("once", "twice");
    assert_eq!(send(&other, "").await.status, 400);
    // The header is the same key.
    let plain = json!({ "name": "event", "channel": "room", "data": "header" }).to_string();
    assert_eq!(send(&plain, "Idempotency-Key: k2\r\n").await.status, 200);
    assert_eq!(send(&plain, "X-Idempotency-Key: k2\r\n").await.status, 200);
    assert_eq!(send(&plain, "Idempotency-Key: k1\r\n").await.status, 400);
    publish(&node, "room", "marker").await;
    let mut seen = Vec::new();
    while seen.last() != Some(&json!("marker")) {
        seen.push(client.event("event").await["data"].clone());
    }
    assert_eq!(seen, ["once", "once", "header", "marker"]);
}

#[tokio::test]
async fn the_reached_acknowledgement_is_named_and_an_unreachable_one_refused() {
    let node = start(|_| {}).await;
    let body = json!({ "name": "e", "channel": "c", "data": "" }).to_string();
    let send =
        async |headers: &str| signed(&node, "POST", "/apps/app-id/events", &body, headers).await;
    assert!(send("").await.head.contains("handbell-ack: sequenced"));
    assert_eq!(send("Handbell-Ack: sequenced\r\n").await.status, 200);
    let refused = send("Handbell-Ack: replicated\r\n").await;
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("retry-after: 1"));
    assert_eq!(send("Handbell-Ack: eventually\r\n").await.status, 400);
}

#[tokio::test]
async fn the_answer_tells_what_was_asked_about_each_channel() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.join("presence-a", "ana").await;
    let mut tab = Client::connect(&node).await;
    tab.join("presence-a", "ana").await;
    let body = json!({
        "name": "e", "channels": ["presence-a", "b"], "data": "",
        "info": "user_count,subscription_count",
    });
    let answer = signed(&node, "POST", "/apps/app-id/events", &body.to_string(), "").await;
    let expected = json!({ "channels": {
        "presence-a": { "user_count": 1, "subscription_count": 2 },
        "b": { "subscription_count": 0 },
    }});
    assert_eq!(answer.json(), expected);
    let body = json!({ "batch": [
        { "name": "e", "channel": "b", "data": "" },
        { "name": "e", "channel": "presence-a", "data": "", "info": "user_count" },
    ]});
    let answer = signed(&node, "POST", "/apps/app-id/batch_events", &body.to_string(), "").await;
    assert_eq!(answer.json(), json!({ "batch": [{}, { "user_count": 1 }] }));
}

#[tokio::test]
async fn publishing_too_fast_is_429_with_the_time_to_wait() {
    let node = start(|config| config.apps[0].limits.publishes_per_second = 3).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let body = json!({ "name": "e", "channel": "c", "data": "" }).to_string();
        let answer = signed(&node, "POST", "/apps/app-id/events", &body, "").await;
        if answer.status == 429 {
            assert!(answer.head.contains("retry-after: 1"));
            assert_eq!(answer.json()["code"], "rate_limited");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429));
}

#[tokio::test]
async fn the_deprecated_calls_still_answer() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.subscribe("room").await;
    let path = "/apps/app-id/channels/room/events?name=old";
    let answer = signed(&node, "POST", path, "plain data", "").await;
    assert_eq!(answer.status, 202);
    assert_eq!(client.event("old").await["data"], "plain data");
    let answer = signed(&node, "GET", "/apps/app-id/channels/room/stats", "", "").await;
    assert_eq!(answer.json(), json!({ "occupied": true }));
    let answer = signed(&node, "GET", "/apps/app-id/connections", "", "").await;
    assert_eq!(answer.json(), json!({ "connections": 1 }));
}

#[tokio::test]
async fn questions_about_channels_are_exact() {
    let node = start(|_| {}).await;
    let (mut ana, mut ben) = (Client::connect(&node).await, Client::connect(&node).await);
    ana.join("presence-a", "ana").await;
    ben.join("presence-a", "ben").await;
    ben.subscribe("cache-b").await;
    publish(&node, "cache-b", "kept").await;
    let ask = async |path: &str| signed(&node, "GET", path, "", "").await.json();
    assert_eq!(
        ask("/apps/app-id/channels").await,
        json!({ "channels": { "presence-a": {}, "cache-b": {} } })
    );
    assert_eq!(
        ask("/apps/app-id/channels?filter_by_prefix=presence-&info=user_count").await,
        json!({ "channels": { "presence-a": { "user_count": 2 } } })
    );
    assert_eq!(
        ask("/apps/app-id/channels/presence-a?info=user_count,subscription_count").await,
        json!({ "occupied": true, "user_count": 2, "subscription_count": 2 })
    );
    let cached = ask("/apps/app-id/channels/cache-b?info=cache").await;
    assert_eq!(cached["cache"]["data"], "kept");
    assert!(cached["cache"]["ttl"].as_u64().is_some_and(|ttl| (1790..=1800).contains(&ttl)));
    assert_eq!(ask("/apps/app-id/channels/nobody").await, json!({ "occupied": false }));
    assert_eq!(
        ask("/apps/app-id/channels/presence-a/users").await,
        json!({ "users": [{ "id": "ana" }, { "id": "ben" }] })
    );
    for wrong in [
        "/apps/app-id/channels?info=user_count",
        "/apps/app-id/channels/room?info=user_count",
        "/apps/app-id/channels/room/users",
    ] {
        assert_eq!(signed(&node, "GET", wrong, "", "").await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn the_list_of_channels_comes_in_pages_when_it_is_asked_so() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    for channel in ["c", "a", "presence-x", "b", "d"] {
        match channel {
            "presence-x" => drop(client.join(channel, "ana").await),
            _ => client.subscribe(channel).await,
        }
    }
    let ask = async |query: &str| {
        signed(&node, "GET", &format!("/apps/app-id/channels{query}"), "", "").await
    };
    let body = async |query: &str| ask(query).await.body;
    let whole = r#"{"channels":{"a":{},"b":{},"c":{},"d":{},"presence-x":{}}}"#;
    assert_eq!(body("").await, whole);
    assert_eq!(body("?limit=5").await, whole);
    assert_eq!(body("?limit=2").await, r#"{"channels":{"a":{},"b":{}},"next":"b"}"#);
    assert_eq!(body("?limit=2&after=b").await, r#"{"channels":{"c":{},"d":{}},"next":"d"}"#);
    assert_eq!(body("?limit=2&after=d").await, r#"{"channels":{"presence-x":{}}}"#);
    // The name after which it goes on may be gone in the meantime.
    assert_eq!(body("?after=bb&limit=1").await, r#"{"channels":{"c":{}},"next":"c"}"#);
    assert_eq!(body("?after=presence-x").await, r#"{"channels":{}}"#);
    let counted = "?filter_by_prefix=presence-&info=user_count&limit=1";
    assert_eq!(body(counted).await, r#"{"channels":{"presence-x":{"user_count":1}}}"#);
    for wrong in ["?limit=0", "?limit=1001", "?limit=x", "?after=a!"] {
        let answer = ask(wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
        let parameter = if wrong.starts_with("?limit") { "`limit`" } else { "`after`" };
        assert!(answer.json()["error"].as_str().unwrap().starts_with(parameter), "{answer:?}");
    }
}
