//! The doors of tokens over HTTP: how many channels a request is about, and what becomes of those that
//! wait when the node goes away.

mod support;

use std::time::Duration;

use handbell::Node;
use handbell::config::Period;
use proto::app::Secret;
use proto::token::{Grant, issue};
use serde_json::json;
use support::*;
use tokio::time::timeout;

fn token() -> String {
    let grant = Grant {
        sub: "ann",
        exp: 4_000_000_000,
        app: None,
        role: None,
        permissions: &["*".to_owned()],
    };
    issue(&Secret::new(SECRET), &grant)
}

async fn poll(node: &Node, query: &str) -> Answer {
    get(node.clients(), &format!("/api/realtime/poll?{query}&token={}", token())).await
}

#[tokio::test]
async fn a_request_is_about_no_more_channels_than_a_connection_may_be_in() {
    let node = start(|config| config.apps[0].limits.channels_per_connection = 2).await;
    assert_eq!(poll(&node, "wait=0&channels=a,b").await.status, 200);
    for answer in [
        poll(&node, "wait=0&channels=a,b,c").await,
        get(node.clients(), "/sse?channels=a,b&channel=c").await,
    ] {
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("channels_per_connection"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_is_about_a_hundred_channels_at_most() {
    let node = start(|_| {}).await;
    let names: Vec<String> = (0..101).map(|number| format!("room-{number}")).collect();
    for answer in [
        poll(&node, &format!("wait=0&channels={}", names.join(","))).await,
        get(node.clients(), &format!("/sse?channels={}", names.join(","))).await,
    ] {
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("100 channels"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_with_nothing_when_its_node_goes_away() {
    let node = start(|config| {
        config.drain.delay = Period(Duration::ZERO);
        config.drain.window = Period(Duration::from_secs(60));
    })
    .await;
    let first = poll(&node, "wait=0&channels=room").await.json();
    let place = first["events"][0]["id"].as_str().expect("where the channel is").to_owned();
    let path = format!("/api/realtime/poll?lastMessageId={place}&token={}", token());
    let address = node.clients();
    let waiting = tokio::spawn(async move { get(address, &path).await });
    let polls = r#"handbell_connections{app_id="app-id",transport="longpoll"}"#;
    eventually("it waits", async || metric(&node, polls).await == Some(1.0)).await;
    timeout(PATIENCE, node.drain()).await.expect("nobody is waited for");
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, &answer.json()["events"]), (200, &json!([])), "{answer:?}");
}

#[tokio::test]
async fn what_is_delivered_is_counted_at_its_door() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.subscribe("room").await;
    let first = poll(&node, "wait=0&channels=room").await.json();
    let place = first["events"][0]["id"].as_str().expect("where the channel is").to_owned();
    let delivered = async |transport: &str| {
        let name = "handbell_messages_delivered_total";
        metric(&node, &format!(r#"{name}{{app_id="app-id",transport="{transport}"}}"#)).await
    };
    publish(&node, "room", "to one").await;
    eventually("it is counted", async || delivered("pusher").await == Some(1.0)).await;
    assert_eq!(delivered("longpoll").await, Some(0.0));
    // What the channel remembers is no delivery.
    let path = format!("/api/realtime/poll?wait=25&lastMessageId={place}&token={}", token());
    let missed = get(node.clients(), &path).await.json();
    let place = missed["events"][0]["id"].as_str().expect("what came meanwhile").to_owned();
    let path = format!("/api/realtime/poll?lastMessageId={place}&token={}", token());
    let address = node.clients();
    let waiting = tokio::spawn(async move { get(address, &path).await });
    let polls = r#"handbell_connections{app_id="app-id",transport="longpoll"}"#;
    eventually("it waits", async || metric(&node, polls).await == Some(1.0)).await;
    eventually("it has joined", async || {
        publish(&node, "room", "to both").await;
        delivered("longpoll").await.is_some_and(|events| events >= 1.0)
    })
    .await;
    assert_eq!(waiting.await.unwrap().status, 200);
}
