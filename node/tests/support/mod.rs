//! A real node on ports of its own, and raw clients for it: WebSocket and HTTP.
#![allow(dead_code, unreachable_pub)] // Each test program uses a part of it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use handbell::config::{AppSection, Config, Period, Source};
use handbell::{Node, clock};
use proto::app::Secret;
use proto::http::signature::signed_query;
use proto::pusher::auth::subscription;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longer than anything should take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const SECRET: &str = "app-secret-canary";

/// A configuration with one app and free ports.
pub fn config() -> Config {
    let mut config = Config::dev(0, 0);
    config.apps = vec![AppSection::new("app-id", "app-key", SECRET)];
    config
}

/// Starts a node; `change` alters its configuration first.
pub async fn start(change: impl FnOnce(&mut Config)) -> Node {
    let mut config = config();
    change(&mut config);
    Node::start(config, Source::default()).await.expect("the node starts")
}

/// As [`start`], with a short silence before pings.
pub async fn start_impatient() -> Node {
    start(|config| {
        config.server.activity_timeout = Period(Duration::from_secs(1));
        config.server.pong_timeout = Period(Duration::from_millis(500));
    })
    .await
}

/// A raw client of the Pusher door.
pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    pub socket_id: String,
}

impl Client {
    /// Connects and takes the greeting.
    pub async fn connect(node: &Node) -> Self {
        let mut client = Self::open(node, "app-key", "protocol=7").await;
        let greeting = client.message().await;
        assert_eq!(greeting["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        client.socket_id = data["socket_id"].as_str().unwrap().to_owned();
        client
    }

    /// Connects and takes nothing.
    pub async fn open(node: &Node, key: &str, query: &str) -> Self {
        let stream = TcpStream::connect(node.clients()).await.unwrap();
        let uri = format!("ws://{}/app/{key}?{query}", node.clients());
        let (socket, _) = client_async(uri, stream).await.expect("the upgrade is accepted");
        Self { socket, socket_id: String::new() }
    }

    pub async fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message.
    pub async fn message(&mut self) -> Value {
        loop {
            let message =
                timeout(PATIENCE, self.socket.next()).await.expect("a message comes in time");
            match message.expect("the connection is open").expect("the connection is good") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a text: {other:?}"),
            }
        }
    }

    /// The next message of this name; others are left out.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let message = self.message().await;
            if message["event"] == name {
                return message;
            }
        }
    }

    /// Reads until the server closes, and returns how.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("the server closes in time") {
                Some(Ok(Message::Close(close))) => return close,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Subscribes, signing if the channel needs it, and waits until it is done.
    pub async fn subscribe(&mut self, channel: &str) {
        self.ask_for(channel, None).await;
        self.event("pusher_internal:subscription_succeeded").await;
    }

    /// Joins a presence channel and waits until it is done.
    pub async fn join(&mut self, channel: &str, user: &str) -> Value {
        let data = json!({ "user_id": user }).to_string();
        self.ask_for(channel, Some(data)).await;
        self.event("pusher_internal:subscription_succeeded").await
    }

    pub async fn ask_for(&mut self, channel: &str, data: Option<String>) {
        let key = ("app-key", &Secret::new(SECRET));
        let auth = subscription(key, &self.socket_id, channel, data.as_deref());
        let mut request = json!({ "channel": channel, "auth": auth });
        if let Some(data) = data {
            request["channel_data"] = data.into();
        }
        self.send(&json!({ "event": "pusher:subscribe", "data": request })).await;
    }

    pub async fn unsubscribe(&mut self, channel: &str) {
        let data = json!({ "channel": channel });
        self.send(&json!({ "event": "pusher:unsubscribe", "data": data })).await;
    }

    /// Waits until the server has taken everything sent so far.
    pub async fn settle(&mut self) {
        self.send(&json!({ "event": "pusher:ping", "data": {} })).await;
        self.event("pusher:pong").await;
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// Sends bytes to a port and reads the one answer.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
    let _ = read;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A GET without a signature.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    raw(address, request.as_bytes()).await
}

/// A signed request to the HTTP API.
pub async fn signed(node: &Node, method: &str, path: &str, body: &str, headers: &str) -> Answer {
    let secret = Secret::new(SECRET);
    let (path, extra) = path.split_once('?').unwrap_or((path, ""));
    let parameters: Vec<(&str, &str)> =
        extra.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let seconds = clock::unix_ms() / 1000;
    let signed = (method, path, body.as_bytes());
    let query = signed_query(("app-key", &secret), signed, &parameters, seconds);
    let length = body.len();
    let request = format!(
        "{method} {path}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    raw(node.clients(), request.as_bytes()).await
}

/// Publishes and expects success.
pub async fn publish(node: &Node, channel: &str, data: &str) {
    let body = json!({ "name": "event", "channel": channel, "data": data }).to_string();
    let answer = signed(node, "POST", "/apps/app-id/events", &body, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
}

/// Waits until something is true.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let tries = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, tries).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// One value from `/metrics`.
pub async fn metric(node: &Node, line: &str) -> Option<f64> {
    let answer = get(node.admin(), "/metrics").await;
    let found = answer.body.lines().find_map(|l| l.strip_prefix(line))?;
    found.trim().parse().ok()
}
