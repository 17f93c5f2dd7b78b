//! What a connection is told when the owner of a channel cannot be reached.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proto::token::{Grant, issue};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::Node;
use crate::config::{Config, Source};

/// Longer than anything should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A raw client of Socket.IO.
struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn connect(node: &Node) -> Self {
        let app = node.server().apps.by_id("app-id").unwrap();
        let grant = Grant {
            sub: "ann",
            exp: 4_000_000_000,
            app: None,
            role: Some("user"),
            permissions: &[],
        };
        let token = issue(&app.app.secrets[0], &grant);
        let stream = TcpStream::connect(node.clients()).await.unwrap();
        let uri = format!("ws://{}/socket.io/?EIO=4&transport=websocket", node.clients());
        let mut client = Self(client_async(uri, stream).await.unwrap().0);
        client.say(&format!(r#"40{{"token":"{token}"}}"#)).await;
        client.hear(r#"42["connected","#).await;
        client
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message that begins with this, without it.
    async fn hear(&mut self, beginning: &str) -> String {
        let hear = async {
            loop {
                let message = self.0.next().await.expect("the connection is open").unwrap();
                if let Some(rest) = message.to_text().unwrap().strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
        };
        timeout(PATIENCE, hear).await.unwrap_or_else(|_| panic!("{beginning} does not come"))
    }

    /// Emits an event and returns its acknowledgement.
    async fn ask(&mut self, number: u64, event: &str, message: &str) -> Value {
        self.say(&format!(r#"42{number}["{event}",{message}]"#)).await;
        let answer = self.hear(&format!("43{number}")).await;
        serde_json::from_str::<Value>(&answer).unwrap()[0].clone()
    }
}

const CHAT: &str = r#"{"topic":"public:chat"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscribe_that_no_owner_answers_is_an_error_and_who_was_in_stays_in() {
    let node = Node::start(Config::dev(0, 0), Source::default()).await.unwrap();
    let mut client = Client::connect(&node).await;
    assert_eq!(client.ask(1, "subscribe", CHAT).await["subscriberCount"], 1);

    let router = &node.server().router;
    let view = router.view();
    router.set_view(None);
    // The second waits for the first.
    client.say(&format!(r#"422["subscribe",{CHAT}]"#)).await;
    client.say(&format!(r#"423["subscribe",{CHAT}]"#)).await;
    for number in ["432", "433"] {
        let answer = client.hear(number).await;
        assert!(answer.starts_with(r#"[{"status":"error","error":"unavailable""#), "{answer}");
    }

    router.set_view(view);
    client.say(r#"42["publish",{"topic":"public:chat","payload":"hello"}]"#).await;
    assert!(client.hear(r#"42["message","#).await.contains("hello"));
    assert_eq!(client.ask(5, "unsubscribe", CHAT).await["status"], "success");
}
