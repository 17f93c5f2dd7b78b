//! The life of connections, channels and the node: pings, slow readers, passivation, drain, TLS.

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use handbell::config::Period;
use handbell::{Node, config::Source};
use proto::channel::History;
use serde_json::json;
use support::*;
use tokio_tungstenite::tungstenite::protocol::Message;

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_closed_with_4201() {
    let node = start_impatient().await;
    let mut silent = Client::connect(&node).await;
    let mut talking = Client::connect(&node).await;
    assert_eq!(silent.event("pusher:ping").await["data"], json!({}));
    // Reading answers the ping frame; a client that is gone does not read.
    drop(silent);
    talking.event("pusher:ping").await;
    talking.send(&json!({ "event": "pusher:pong", "data": {} })).await;
    talking.settle().await;
    eventually("the silent one is gone", async || {
        metric(&node, r#"handbell_connections{app_id="app-id",transport="pusher"}"#).await
            == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_closed_with_4201() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let node = start_impatient().await;
    let mut stream = tokio::net::TcpStream::connect(node.clients()).await.unwrap();
    let upgrade = "GET /app/app-key HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let code = 4201_u16.to_be_bytes();
    assert!(bytes.windows(2).any(|pair| pair == code), "{}", String::from_utf8_lossy(&bytes));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_closed_and_never_waited_for() {
    let node = start(|config| {
        config.apps[0].limits.outbox_events = 64;
        config.apps[0].limits.outbox_bytes = 100_000;
    })
    .await;
    let mut slow = Client::connect(&node).await;
    slow.subscribe("room").await;
    let mut healthy = Client::connect(&node).await;
    healthy.subscribe("room").await;
    let data = "x".repeat(10_000);
    let lagging = r#"handbell_slow_consumers_disconnected_total{app_id="app-id"}"#;
    let mut published = 0;
    while metric(&node, lagging).await != Some(1.0) {
        for _ in 0..50 {
            publish(&node, "room", &data).await;
            assert_eq!(healthy.event("event").await["data"], data);
        }
        published += 50;
        assert!(published < 5_000, "the slow subscriber is never closed");
    }
    healthy.settle().await;
    // It reads what had left for it, and then the reason.
    let close = slow.closed().await.expect("a close frame");
    assert_eq!(u16::from(close.code), 4100);
}

#[tokio::test]
async fn an_empty_channel_ends_when_nothing_is_retained() {
    let node = start(|config| config.history = History { seconds: 0, ..History::default() }).await;
    let mut client = Client::connect(&node).await;
    for number in 0..200 {
        let channel = format!("room-{number}");
        client.subscribe(&channel).await;
        client.unsubscribe(&channel).await;
    }
    client.settle().await;
    // Held back for three seconds in case the subscriber returns, then gone.
    eventually("no channel is alive", async || node.server().router.channels().census().is_empty())
        .await;
    publish(&node, "room-1", "to nobody").await;
    assert!(node.server().router.channels().census().is_empty());
    client.subscribe("room-1").await;
    publish(&node, "room-1", "to one").await;
    assert_eq!(client.event("event").await["data"], "to one");
}

#[tokio::test]
async fn nothing_is_sent_for_a_channel_after_its_unsubscribe() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.subscribe("room").await;
    client.unsubscribe("room").await;
    let gone = async || {
        let answer = signed(&node, "GET", "/apps/app-id/channels/room", "", "").await;
        answer.json()["occupied"] == false
    };
    eventually("the unsubscribe is done", gone).await;
    publish(&node, "room", "unheard").await;
    client.subscribe("marker").await;
    publish(&node, "marker", "heard").await;
    assert_eq!(client.event("event").await["data"], "heard");
}

#[tokio::test]
async fn quick_unsubscribes_and_subscribes_end_subscribed() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    for _ in 0..20 {
        client.ask_for("room", None).await;
        client.unsubscribe("room").await;
    }
    client.ask_for("room", None).await;
    client.settle().await;
    let answer = async || {
        let path = "/apps/app-id/channels/room?info=subscription_count";
        signed(&node, "GET", path, "", "").await.json()["subscription_count"] == 1
    };
    eventually("there is one subscriber", answer).await;
    publish(&node, "room", "heard").await;
    assert_eq!(client.event("event").await["data"], "heard");
}

#[tokio::test]
async fn a_closed_connection_leaves_every_channel() {
    let node = start(|_| {}).await;
    let mut stays = Client::connect(&node).await;
    stays.join("presence-room", "ana").await;
    let mut goes = Client::connect(&node).await;
    goes.join("presence-room", "ben").await;
    assert_eq!(stays.message().await["event"], "pusher_internal:member_added");
    drop(goes);
    let left = stays.message().await;
    assert_eq!(left["event"], "pusher_internal:member_removed");
    assert_eq!(left["data"], r#"{"user_id":"ben"}"#);
}

#[tokio::test]
async fn draining_closes_every_connection_with_4200_and_takes_no_new_one() {
    let node = start(|config| {
        config.drain.delay = Period(Duration::from_millis(300));
        config.drain.window = Period(Duration::from_secs(2));
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(&node).await);
    }
    let (address, admin) = (node.clients(), node.admin());
    assert_eq!(get(admin, "/readyz").await.status, 200);
    let draining = tokio::spawn(node.drain());
    eventually("it is not ready", async || get(admin, "/readyz").await.status == 503).await;
    assert_eq!(get(address, "/up").await.status, 503);
    for client in &mut clients {
        let close = client.closed().await.expect("a close frame");
        assert_eq!(u16::from(close.code), 4200);
    }
    draining.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn keep_alive_connections_are_used_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let node = start(|_| {}).await;
    let mut stream = tokio::net::TcpStream::connect(node.clients()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].ends_with(b"OK"));
    }
}

#[tokio::test]
async fn a_changed_configuration_file_is_taken_over_and_a_bad_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handbell.toml");
    let text = |secret: &str, extra: &str| {
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[apps]]\nid = \"app-id\"\nkey = \"app-key\"\n{secret}\n{extra}\n"
        )
    };
    let old = format!("secret = \"{SECRET}\"");
    std::fs::write(&path, text(&old, "")).unwrap();
    let source = Source { path: Some(path.clone()), ..Source::default() };
    let node = Node::start(source.load().unwrap(), source).await.unwrap();
    let mut client = Client::connect(&node).await;

    let both = format!("secrets = [\"new\", \"{SECRET}\"]");
    std::fs::write(&path, text(&both, "client_events = false")).unwrap();
    eventually("the new secret is live", async || {
        node.server().apps.by_id("app-id").is_some_and(|entry| entry.app.secrets.len() == 2)
    })
    .await;
    // The connection is the same, and lives by the new rules.
    client.subscribe("private-room").await;
    client.send(&json!({ "event": "client-x", "channel": "private-room", "data": 1 })).await;
    assert_eq!(client.event("pusher:error").await["data"]["code"], 4301);

    std::fs::write(&path, "nonsense = 1").unwrap();
    let failed = "handbell_config_last_reload_successful";
    eventually("the bad file is refused", async || metric(&node, failed).await == Some(0.0)).await;
    client.settle().await;
    assert_eq!(node.server().apps.all().len(), 1);
}

#[tokio::test]
async fn tls_is_served_and_its_certificate_replaced_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let write = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    };
    let first = write();
    let files = handbell::tls::TlsFiles { certificate: certificate.clone(), key: key.clone() };
    let node = start(|config| config.server.tls = Some(files)).await;
    let stream = tls_connect(&node, &first).await.expect("the first certificate is served");
    let uri = format!("ws://{}/app/app-key", node.clients());
    let (mut socket, _) = tokio_tungstenite::client_async(uri, stream).await.unwrap();
    let greeting = socket.next().await.unwrap().unwrap();
    assert!(greeting.to_text().unwrap().contains("connection_established"));

    let second = write();
    let replaced = async || tls_connect(&node, &second).await.is_ok();
    eventually("the second certificate is served", replaced).await;
    let ping = r#"{"event":"pusher:ping","data":{}}"#;
    socket.send(Message::text(ping)).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().contains("pong"));
}

#[tokio::test]
async fn over_tls_too_a_client_is_told_why_it_is_closed_and_its_close_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = handbell::tls::TlsFiles { certificate, key };
    let node = start(|config| config.server.tls = Some(files)).await;
    let connect = async |app: &str| {
        let stream = tls_connect(&node, made.cert.der()).await.unwrap();
        let uri = format!("ws://{}/app/{app}", node.clients());
        tokio_tungstenite::client_async(uri, stream).await.unwrap().0
    };
    let mut unknown = connect("unknown").await;
    assert!(unknown.next().await.unwrap().unwrap().to_text().unwrap().contains("4001"));
    let Message::Close(Some(close)) = unknown.next().await.unwrap().unwrap() else {
        panic!("no close frame");
    };
    assert_eq!(u16::from(close.code), 4001);
    let mut known = connect("app-key").await;
    known.next().await.unwrap().unwrap();
    known.send(Message::Close(None)).await.unwrap();
    assert!(matches!(known.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test]
async fn an_app_that_is_disabled_closes_its_connections() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handbell.toml");
    let text = |enabled: bool| {
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[apps]]\nid = \"app-id\"\nkey = \"app-key\"\nsecret = \"{SECRET}\"\nenabled = {enabled}\n"
        )
    };
    std::fs::write(&path, text(true)).unwrap();
    let source = Source { path: Some(path.clone()), ..Source::default() };
    let node = Node::start(source.load().unwrap(), source).await.unwrap();
    let mut client = Client::connect(&node).await;
    std::fs::write(&path, text(false)).unwrap();
    eventually("the app is disabled", async || {
        node.server().apps.by_id("app-id").is_some_and(|entry| !entry.app.enabled)
    })
    .await;
    client.send(&json!({ "event": "pusher:ping", "data": {} })).await;
    assert_eq!(client.closed().await.map(|close| u16::from(close.code)), Some(4003));
}

async fn tls_connect(
    node: &Node,
    trusted: &rustls::pki_types::CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(node.clients()).await?;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), stream).await
}

#[tokio::test]
async fn gauges_equal_what_is_there_after_a_reload_too() {
    let node = start(|_| {}).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = Client::connect(&node).await;
        client.subscribe("room").await;
        client.join("presence-room", &format!("user-{}", number / 2)).await;
        clients.push(client);
    }
    let gauge = async |name: &str| metric(&node, name).await;
    let connections = r#"handbell_connections{app_id="app-id",transport="pusher"}"#;
    assert_eq!(gauge(connections).await, Some(5.0));
    assert_eq!(gauge(r#"handbell_subscriptions{app_id="app-id",type="public"}"#).await, Some(5.0));
    assert_eq!(gauge(r#"handbell_presence_members{app_id="app-id"}"#).await, Some(3.0));
    assert_eq!(gauge(r#"handbell_channels{app_id="app-id",type="presence"}"#).await, Some(1.0));
    let apps = &node.server().apps;
    apps.replace(apps.all().iter().map(|entry| entry.app.clone()).collect());
    assert_eq!(gauge(connections).await, Some(5.0));
    clients.push(Client::connect(&node).await);
    assert_eq!(gauge(connections).await, Some(6.0));
    drop(clients);
    eventually("all gauges are zero again", async || {
        gauge(connections).await == Some(0.0)
            && gauge(r#"handbell_presence_members{app_id="app-id"}"#).await == Some(0.0)
    })
    .await;
}
