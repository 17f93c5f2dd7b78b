//! Bad input: each kind gets its documented error, costs little, and leaves other connections alone.

mod support;

use futures_util::SinkExt;
use serde_json::json;
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::Message;

#[tokio::test]
async fn unauthentic_requests_are_401_and_unknown_apps_404() {
    let node = start(|_| {}).await;
    let body = json!({ "name": "e", "channel": "c", "data": "" }).to_string();
    let length = body.len();
    let post = async |target: &str| {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        raw(node.clients(), request.as_bytes()).await
    };
    let unsigned = post("/apps/app-id/events").await;
    assert_eq!(unsigned.status, 401);
    let error = unsigned.json();
    assert_eq!((&error["code"], &error["status"]), (&json!("unauthorized"), &json!(401)));
    assert!(error["error"].as_str().unwrap().contains("auth_key"));
    assert_eq!(post("/apps/other/events").await.status, 404);
    assert_eq!(post("/nothing").await.status, 404);
    assert_eq!(get(node.clients(), "/apps/app-id/events").await.status, 405);
    // A signature for one app is no signature for another.
    let foreign = signed(&node, "POST", "/apps/other/events", &body, "").await;
    assert_eq!(foreign.status, 404);
}

#[tokio::test]
async fn a_captured_request_is_refused_for_another_path_body_or_time() {
    let node = start(|_| {}).await;
    let secret = proto::app::Secret::new(SECRET);
    let body = r#"{"name":"e","channel":"c","data":""}"#;
    let seconds = handbell::clock::unix_ms() / 1000;
    let send = async |path: &str, sent: &str, at: u64| {
        let signed = ("POST", "/apps/app-id/events", body.as_bytes());
        let query = proto::http::signature::signed_query(("app-key", &secret), signed, &[], at);
        let length = sent.len();
        let request = format!(
            "POST {path}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{sent}"
        );
        raw(node.clients(), request.as_bytes()).await.status
    };
    assert_eq!(send("/apps/app-id/events", body, seconds).await, 200);
    assert_eq!(send("/apps/app-id/batch_events", body, seconds).await, 401);
    assert_eq!(send("/apps/app-id/events", &body.replace('c', "d"), seconds).await, 401);
    assert_eq!(send("/apps/app-id/events", body, seconds - 601).await, 401);
    assert_eq!(send("/apps/app-id/events", body, seconds + 605).await, 401);
}

#[tokio::test]
async fn oversize_requests_are_refused_before_they_are_read() {
    let node = start(|config| config.apps[0].limits.request_bytes = 1_000).await;
    let head = "POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let announced = format!("{head}Content-Length: 1000000000\r\n\r\n");
    assert_eq!(raw(node.clients(), announced.as_bytes()).await.status, 413);
    let chunk = "x".repeat(2_000);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n7d0\r\n{chunk}\r\n0\r\n\r\n");
    assert_eq!(raw(node.clients(), chunked.as_bytes()).await.status, 413);
    let megabyte = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(raw(node.clients(), megabyte.as_bytes()).await.status, 431);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    assert_eq!(raw(node.clients(), many.as_bytes()).await.status, 431);
}

#[tokio::test]
async fn an_event_over_its_limit_is_413_and_names_the_limit() {
    let node = start(|_| {}).await;
    let body = json!({ "name": "e", "channel": "c", "data": "x".repeat(10_241) }).to_string();
    let answer = signed(&node, "POST", "/apps/app-id/events", &body, "").await;
    assert_eq!(answer.status, 413);
    let text = answer.json()["error"].to_string();
    assert!(text.contains("10241") && text.contains("10240") && text.contains("event_bytes"));
}

#[tokio::test]
async fn ambiguous_http_is_refused() {
    let node = start(|_| {}).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: x\r\n\r\n",
        "\u{0}\u{1}\u{2}",
        "GET /\r\n\r\n",
    ] {
        let status = raw(node.clients(), request.as_bytes()).await.status;
        assert!(matches!(status, 0 | 400 | 405), "{request:?}: {status}");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_so() {
    let node = start(|_| {}).await;
    assert_eq!(get(node.clients(), "/app/app-key").await.status, 426);
    let upgrade = |extra: &str| {
        format!(
            "GET /app/app-key HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{extra}\r\n"
        )
    };
    for extra in [
        "",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
    ] {
        let request = upgrade(&format!("Connection: close\r\n{extra}"));
        assert_eq!(raw(node.clients(), request.as_bytes()).await.status, 400, "{extra}");
    }
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_refused() {
    let node = start(|_| {}).await;
    for extra in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let request = format!(
            "GET /app/app-key HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Connection: close\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{extra}"
        );
        assert_eq!(raw(node.clients(), request.as_bytes()).await.status, 400, "{extra}");
    }
}

#[tokio::test]
async fn a_message_over_its_limit_ends_its_connection_only() {
    let node = start(|config| config.apps[0].limits.message_bytes = 1_000).await;
    let mut witness = Client::connect(&node).await;
    let mut client = Client::connect(&node).await;
    client.send(&json!({ "event": "x", "data": "y".repeat(2_000) })).await;
    let close = client.closed().await.expect("a close frame");
    assert_eq!(u16::from(close.code), 1009);
    witness.settle().await;
}

#[tokio::test]
async fn a_huge_announced_frame_allocates_nothing() {
    let node = start(|_| {}).await;
    for length in [0x7fff_ffff_ffff_ffff_u64, u64::MAX, 1 << 40] {
        let mut client = Client::connect(&node).await;
        let stream = client.socket.get_mut();
        let mut frame = vec![0x81, 0xff];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        stream.write_all(&frame).await.unwrap();
        let code = client.closed().await.map(|close| u16::from(close.code));
        assert!(matches!(code, Some(1002 | 1009)), "{length:x}: {code:?}");
    }
}

#[tokio::test]
async fn a_million_tiny_fragments_are_cut_off_at_the_message_limit() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    let stream = client.socket.get_mut();
    // An unfinished text frame, then continuations of one byte each, masked with zeros.
    let mut bytes = vec![0x01, 0x81, 0, 0, 0, 0, b'x'];
    bytes.extend([0x00, 0x81, 0, 0, 0, 0, b'x'].repeat(1_000_000));
    // The server stops reading at the limit; the rest cannot be written.
    let _ = stream.write_all(&bytes).await;
    let close = client.closed().await;
    assert!(close.is_none_or(|close| u16::from(close.code) == 1009));
    let mut witness = Client::connect(&node).await;
    witness.settle().await;
}

#[tokio::test]
async fn a_connection_that_is_turned_away_learns_why() {
    let node = start(|config| {
        config.apps[0].origins = vec!["https://good.example".into()];
        config.apps[0].limits.connections = 1;
    })
    .await;
    let turned_away = async |key: &str, query: &str| {
        let mut client = Client::open(&node, key, query).await;
        let error = client.message().await;
        assert_eq!(error["event"], "pusher:error");
        let close = client.closed().await.expect("a close frame");
        assert_eq!(error["data"]["code"], u16::from(close.code));
        u16::from(close.code)
    };
    assert_eq!(turned_away("unknown", "protocol=7").await, 4001);
    for protocol in ["3", "8", "x", ""] {
        assert_eq!(turned_away("app-key", &format!("protocol={protocol}")).await, 4007);
    }
    let first = Client::connect(&node).await;
    assert_eq!(turned_away("app-key", "protocol=7").await, 4004);
    drop(first);
    eventually("the place is free again", async || {
        let mut client = Client::open(&node, "app-key", "").await;
        client.message().await["event"] == "pusher:connection_established"
    })
    .await;
}

#[tokio::test]
async fn pages_of_other_origins_are_turned_away() {
    let node = start(|config| config.apps[0].origins = vec!["https://good.example".into()]).await;
    let first_event = async |origin: &str| {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;
        let stream = TcpStream::connect(node.clients()).await.unwrap();
        let uri = format!("ws://{}/app/app-key", node.clients());
        let mut request = uri.into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let mut client = Client { socket, socket_id: String::new() };
        client.message().await["event"].clone()
    };
    assert_eq!(first_event("https://good.example").await, "pusher:connection_established");
    for origin in
        ["https://good.example.evil", "http://good.example", "null", "https://evilgood.example"]
    {
        assert_eq!(first_event(origin).await, "pusher:error", "{origin}");
    }
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_does_not_stop_others() {
    let node = start(|_| {}).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(node.clients()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(get(node.clients(), "/").await.body, "OK");
    // The slow ones are closed within the head timeout.
    let mut buffer = [0; 256];
    for stream in &mut slow {
        let read =
            tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read(stream, &mut buffer));
        let _ = read.await.expect("closed in time");
    }
}

#[tokio::test]
async fn malformed_messages_leave_the_connection_and_others_open() {
    let node = start(|_| {}).await;
    let mut witness = Client::connect(&node).await;
    let mut client = Client::connect(&node).await;
    for text in ["", "{", "[]", "{\"event\":{}}", "{\"event\":\"pusher:subscribe\"}"] {
        client.socket.send(Message::text(text)).await.unwrap();
        assert_eq!(client.message().await["event"], "pusher:error");
    }
    client.socket.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    assert_eq!(client.message().await["event"], "pusher:error");
    client.subscribe("room").await;
    witness.settle().await;
}

#[tokio::test]
async fn secrets_are_in_no_answer_and_no_metric() {
    let node = start(|_| {}).await;
    let mut client = Client::connect(&node).await;
    client.subscribe("private-room").await;
    for answer in [
        get(node.admin(), "/metrics").await,
        get(node.admin(), "/readyz?verbose").await,
        get(node.clients(), "/apps/app-id/channels").await,
    ] {
        assert!(!answer.body.contains("canary") && !answer.head.contains("canary"));
    }
    assert!(!format!("{:?}", config()).contains("canary"));
    assert!(!config().to_toml().unwrap().contains("canary"));
}
