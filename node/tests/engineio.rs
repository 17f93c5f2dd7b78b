//! Engine.IO's transports with raw clients: what the published suites do not look at.

mod support;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use handbell::clock::Clock;
use handbell::engineio::{Link, Sessions, Terms, serve};
use handbell::listen;
use proto::app::Secret;
use proto::engineio::{Message, Timing};
use proto::origin::OriginPattern;
use proto::{App, AppId};
use support::{PATIENCE, eventually, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{WebSocketStream, client_async};

struct Echo {
    clock: Clock,
    app: App,
    timing: Timing,
    sessions: Sessions,
}

/// A server that sends every message back, and ends the session at `bye` after saying so.
struct Served {
    address: SocketAddr,
    sessions: Sessions,
    _stop: watch::Sender<bool>,
}

fn started(change: impl FnOnce(&mut Echo)) -> Served {
    let mut echo = Echo {
        clock: Clock::start(),
        app: App::new(AppId::parse("app").unwrap(), "key", Secret::new("secret")),
        timing: Timing::default(),
        sessions: Sessions::default(),
    };
    change(&mut echo);
    let listener = listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (sessions, stop) = (echo.sessions.clone(), watch::Sender::new(false));
    let routes = Router::new().route("/engine.io/", any(connect)).with_state(Arc::new(echo));
    tokio::spawn(listen::serve(listener, None, routes, stop.subscribe()));
    Served { address, sessions, _stop: stop }
}

async fn connect(State(echo): State<Arc<Echo>>, request: Request<Body>) -> Response<Body> {
    let terms = Terms { clock: echo.clock, app: &echo.app, timing: echo.timing };
    serve(&echo.sessions, &terms, request, run).await
}

async fn run(mut link: Link) {
    let outbox = Arc::clone(link.outbox());
    loop {
        let message = tokio::select! {
            message = link.next() => message,
            _ = poll_fn(|context| outbox.poll_signal(context)) => break,
        };
        match message {
            Ok(Message::Text(text)) if text == "bye" => {
                link.send_text("good bye");
                break;
            }
            Ok(Message::Text(text)) => link.send_text(&text),
            Ok(Message::Binary(bytes)) => link.send_binary(&bytes),
            Err(_) => break,
        }
    }
    link.part().await;
}

impl Served {
    async fn request(&self, method: &str, query: &str, more: &str, body: &str) -> support::Answer {
        let length = body.len();
        let request = format!(
            "{method} /engine.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\n\
             Connection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
        );
        raw(self.address, request.as_bytes()).await
    }

    async fn open(&self) -> String {
        let answer = self.request("GET", "", "", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let handshake: serde_json::Value = serde_json::from_str(&answer.body[1..]).unwrap();
        handshake["sid"].as_str().unwrap().to_owned()
    }

    async fn poll(&self, sid: &str) -> support::Answer {
        self.request("GET", &format!("&sid={sid}"), "", "").await
    }

    async fn post(&self, sid: &str, body: &str) -> support::Answer {
        self.request("POST", &format!("&sid={sid}"), "", body).await
    }

    async fn websocket(&self, query: &str) -> WebSocketStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let uri = format!("ws://{}/engine.io/?EIO=4&transport=websocket{query}", self.address);
        client_async(uri, stream).await.expect("the upgrade is accepted").0
    }

    async fn are_gone(&self) {
        eventually("the sessions end", async || self.sessions.is_empty()).await;
    }
}

async fn text(socket: &mut WebSocketStream<TcpStream>) -> String {
    let frame = timeout(PATIENCE, socket.next()).await.expect("a message comes in time");
    frame.unwrap().unwrap().into_text().unwrap().to_string()
}

#[tokio::test]
async fn refusals_have_the_bodies_of_the_javascript_server() {
    let served = started(|_| {});
    let get = async |query: &str| {
        let answer = support::get(served.address, &format!("/engine.io/?{query}")).await;
        (answer.status, answer.body)
    };
    let is = |code: u8, message: &str| (400, format!(r#"{{"code":{code},"message":"{message}"}}"#));
    assert_eq!(get("EIO=4").await, is(0, "Transport unknown"));
    assert_eq!(get("EIO=4&transport=polling&sid=x").await, is(1, "Session ID unknown"));
    let answer = served.request("POST", "", "", "4x").await;
    assert_eq!((answer.status, answer.body), is(2, "Bad handshake method"));
    assert_eq!(get("EIO=4&transport=websocket").await, is(3, "Bad request"));
    assert_eq!(get("EIO=3&transport=polling").await, is(5, "Unsupported protocol version"));
}

/// GHSA-q9mw-68c2-j6m5, CVE-2022-21676: upgrades that make no sense once killed the server.
#[tokio::test]
async fn upgrades_that_make_no_sense_are_refused_and_harm_nobody() {
    let served = started(|_| {});
    let upgrade = |query: &str, key: &str| {
        format!(
            "GET /engine.io/?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
    };
    let key = "AAAAAAAAAAAAAAAAAAAAAA==";
    for request in [
        upgrade("EIO=4&transport=xyz", key),
        upgrade("EIO=4&transport=polling", key),
        upgrade("EIO=4&transport=websocket", "short"),
        upgrade("EIO=4&transport=websocket&sid=unknown", key),
    ] {
        let closing = request.replace("Connection: Upgrade", "Connection: Upgrade, close");
        assert_eq!(raw(served.address, closing.as_bytes()).await.status, 400, "{request}");
    }
    // Frames with reserved bits, and a connection that is cut at each byte of its handshake.
    let whole = upgrade("EIO=4&transport=websocket", key);
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(whole.as_bytes()).await.unwrap();
    socket.write_all(&[0xf1, 0x80, 1, 2, 3, 4]).await.unwrap();
    for end in 0..whole.len() {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.set_zero_linger().unwrap();
        socket.write_all(&whole.as_bytes()[..end]).await.unwrap();
    }
    let mut socket = served.websocket("").await;
    assert!(text(&mut socket).await.starts_with("0{"));
}

/// CVE-2022-41940, engine.io before 6.2.1: a reset in the middle of an upgrade killed the server. Here
/// the session that was to be upgraded goes on as it was, wherever the client is cut off.
#[tokio::test]
async fn an_upgrade_that_is_reset_anywhere_leaves_the_session_as_it_was() {
    let served = started(|_| {});
    let sid = served.open().await;
    let head = format!(
        "GET /engine.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    // The probe, masked with zeros.
    let whole = [head.as_bytes(), b"\x81\x86\0\0\0\x002probe"].concat();
    for end in 1..=whole.len() {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.set_zero_linger().unwrap();
        socket.write_all(&whole[..end]).await.unwrap();
        if end >= head.len() {
            // Past the handshake: the server is with it.
            let mut answer = [0; 12];
            timeout(PATIENCE, socket.read_exact(&mut answer)).await.unwrap().unwrap();
            assert_eq!(&answer, b"HTTP/1.1 101");
        }
        drop(socket);
    }
    assert_eq!(served.post(&sid, "4still here").await.body, "ok");
    eventually("the session polls again", async || {
        let body = served.poll(&sid).await.body;
        // A noop says that the server has not noticed yet.
        assert!(body == "6" || body == "4still here", "{body}");
        body != "6"
    })
    .await;
    assert_eq!(served.sessions.len(), 1);
}

/// GHSA-cgwc-pv48-fhj5, python-engineio before 4.13.2: each PONG began a thread.
#[tokio::test]
async fn pongs_that_nobody_asked_for_begin_nothing() {
    let served = started(|_| {});
    let mut socket = served.websocket("").await;
    text(&mut socket).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..10_000 {
        socket.feed(Frame::text("3")).await.unwrap();
    }
    socket.send(Frame::text("4still here")).await.unwrap();
    assert_eq!(text(&mut socket).await, "4still here");
    assert!(tasks() <= before, "{before} tasks before, {} after", tasks());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_ends_the_session() {
    let served = started(|echo| echo.timing.max_payload = 1_000);
    let sid = served.open().await;
    assert_eq!(served.post(&sid, &format!("4{}", "x".repeat(999))).await.status, 200);
    assert_eq!(served.post(&sid, &format!("4{}", "x".repeat(1_000))).await.status, 413);
    served.are_gone().await;
    let mut socket = served.websocket("").await;
    text(&mut socket).await;
    socket.send(Frame::text("x".repeat(1_001))).await.unwrap();
    assert!(!matches!(socket.next().await, Some(Ok(Frame::Text(_) | Frame::Binary(_)))));
}

#[tokio::test]
async fn a_second_post_at_once_ends_the_session() {
    let served = started(|_| {});
    let sid = served.open().await;
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\
         Content-Length: 100\r\n\r\n4begin"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    eventually("the first is noticed", async || served.post(&sid, "4x").await.status == 400).await;
    served.are_gone().await;
}

#[tokio::test]
async fn a_post_that_is_cut_off_ends_the_session() {
    let served = started(|_| {});
    let sid = served.open().await;
    let mut cut = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\
         Content-Length: 100\r\n\r\n4begin"
    );
    cut.write_all(head.as_bytes()).await.unwrap();
    drop(cut);
    served.are_gone().await;
}

#[tokio::test]
async fn a_session_that_the_server_ends_gives_the_client_the_last_messages() {
    let served = started(|_| {});
    let sid = served.open().await;
    assert_eq!(served.post(&sid, "4bye").await.body, "ok");
    assert_eq!(served.poll(&sid).await.body, "4good bye\u{1e}1");
    served.are_gone().await;
    assert_eq!(served.poll(&sid).await.status, 400);
}

#[tokio::test]
async fn a_get_takes_no_more_packets_than_every_client_can_read() {
    let served = started(|_| {});
    let sid = served.open().await;
    // A POST is answered when the messages of those before it were sent back.
    for numbers in [0..10, 10..20, 20..21] {
        let body: Vec<_> = numbers.map(|n| format!("4{n}")).collect();
        assert_eq!(served.post(&sid, &body.join("\u{1e}")).await.body, "ok");
    }
    let mut got = Vec::new();
    while got.len() < 21 {
        let body = served.poll(&sid).await.body;
        let packets: Vec<_> = body.split('\u{1e}').map(str::to_owned).collect();
        assert!(packets.len() <= 16, "{packets:?}");
        got.extend(packets);
    }
    assert_eq!(got, (0..21).map(|n| format!("4{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_waited_while_the_transport_changed_comes_on_the_websocket_in_order() {
    let served = started(|_| {});
    let sid = served.open().await;
    let mut socket = served.websocket(&format!("&sid={sid}")).await;
    served.post(&sid, "4one\u{1e}bAQID").await;
    socket.send(Frame::text("2probe")).await.unwrap();
    assert_eq!(text(&mut socket).await, "3probe");
    served.post(&sid, "4two").await;
    assert_eq!(served.poll(&sid).await.body, "6");
    socket.send(Frame::text("5")).await.unwrap();
    assert_eq!(text(&mut socket).await, "4one");
    assert_eq!(socket.next().await.unwrap().unwrap(), Frame::binary(vec![1, 2, 3]));
    assert_eq!(text(&mut socket).await, "4two");
    socket.send(Frame::Ping("x".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Frame::Pong("x".into()));
    drop(socket);
    served.are_gone().await;
}

#[tokio::test]
async fn a_websocket_that_goes_before_it_was_the_transport_changes_nothing() {
    let served = started(|_| {});
    let sid = served.open().await;
    for last in ["2probe", "4x"] {
        let mut socket = served.websocket(&format!("&sid={sid}")).await;
        socket.send(Frame::text(last)).await.unwrap();
        // Closed by the server, or by the client after the answer.
        while let Some(Ok(Frame::Text(_))) = socket.next().await {
            socket.close(None).await.unwrap();
        }
        served.post(&sid, "4still here").await;
        // A noop says that the server has not noticed yet.
        eventually("the session polls again", async || {
            let body = served.poll(&sid).await.body;
            assert!(body == "6" || body == "4still here", "{body}");
            body != "6"
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_let_go() {
    let served = started(|echo| echo.app.limits.outbox_events = 10);
    let sid = served.open().await;
    assert_eq!(served.post(&sid, &["4x"; 11].join("\u{1e}")).await.status, 200);
    assert!(served.poll(&sid).await.body.ends_with('1'));
    served.are_gone().await;
}

#[tokio::test]
async fn an_app_has_so_many_sessions() {
    let served = started(|echo| echo.app.limits.connections = 2);
    let first = served.open().await;
    served.open().await;
    let answer = served.request("GET", "", "", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (403, r#"{"code":4,"message":"Forbidden"}"#));
    served.post(&first, "1").await;
    eventually("there is room again", async || served.sessions.len() == 1).await;
    served.open().await;
}

#[tokio::test]
async fn a_silent_client_is_forgotten() {
    let served = started(|echo| {
        echo.timing.ping_interval = Duration::from_millis(30);
        echo.timing.ping_timeout = Duration::from_millis(30);
    });
    let sid = served.open().await;
    served.are_gone().await;
    assert_eq!(served.poll(&sid).await.status, 400);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_poll_and_others_may_not_connect() {
    let origin = OriginPattern::parse("https://good.com").unwrap();
    let served = started(|echo| echo.app.origins = vec![origin]);
    let good = served.request("GET", "", "Origin: https://good.com\r\n", "").await;
    assert_eq!(good.status, 200);
    assert!(good.head.contains("access-control-allow-origin: https://good.com"), "{good:?}");
    assert!(good.head.contains("vary: origin") && !good.head.contains("credentials"), "{good:?}");
    let preflight = served.request("OPTIONS", "&sid=x", "Origin: https://good.com\r\n", "").await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.head.contains("access-control-allow-methods: GET, POST"), "{preflight:?}");
    for origin in ["https://good.com.evil", "https://evilgood.com", "http://good.com", "null"] {
        let bad = served.request("GET", "", &format!("Origin: {origin}\r\n"), "").await;
        assert_eq!(bad.status, 403, "{origin}");
        assert!(!bad.head.contains("access-control-allow-origin"), "{bad:?}");
    }
    assert_eq!(served.request("GET", "", "", "").await.status, 200);
}
