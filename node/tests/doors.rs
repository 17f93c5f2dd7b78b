//! The doors of tokens over HTTP: how many channels a request is about.

mod support;

use handbell::Node;
use proto::app::Secret;
use proto::token::{Grant, issue};
use support::*;

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
