//! `handbell subscribe`: a Pusher client that signs for itself.

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use proto::ChannelName;
use proto::pusher::auth::subscription;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Target;

#[derive(Debug, Args)]
pub(super) struct Subscribe {
    /// The channels.
    #[arg(required = true)]
    channels: Vec<String>,
    /// User id for presence channels.
    #[arg(long, default_value = "cli")]
    user: String,
    /// Stop after so many events.
    #[arg(long)]
    count: Option<usize>,
    #[command(flatten)]
    target: Target,
}

type Socket = WebSocketStream<TcpStream>;

impl Subscribe {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut socket = self.connect().await?;
        let mut left = self.count;
        while left != Some(0) {
            let Some(message) = socket.next().await else {
                bail!("the server closed the connection");
            };
            match message? {
                Message::Text(text) => {
                    if self.take(&mut socket, &text).await? {
                        left = left.map(|left| left - 1);
                    }
                }
                Message::Close(Some(close)) => {
                    bail!("the server closed the connection: {} {}", close.code, close.reason);
                }
                Message::Close(None)
                | Message::Binary(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Frame(_) => {}
            }
        }
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<Socket> {
        let Some(host) = self.target.url.strip_prefix("http://") else {
            bail!("this command speaks http:// only; {} is something else", self.target.url);
        };
        let host = host.trim_end_matches('/');
        let stream =
            TcpStream::connect(host).await.with_context(|| format!("cannot reach {host}"))?;
        let version = env!("CARGO_PKG_VERSION");
        let key = &self.target.key;
        let uri = format!("ws://{host}/app/{key}?protocol=7&client=handbell-cli&version={version}");
        let (socket, _) = client_async(uri, stream).await?;
        Ok(socket)
    }

    /// Prints a message; true if it was an event. Subscribes as soon as the socket id is known.
    async fn take(&self, socket: &mut Socket, text: &str) -> anyhow::Result<bool> {
        println!("{text}");
        let message: Value = serde_json::from_str(text)?;
        match message["event"].as_str().unwrap_or_default() {
            "pusher:connection_established" => {
                let data: Value =
                    serde_json::from_str(message["data"].as_str().unwrap_or_default())?;
                let socket_id =
                    data["socket_id"].as_str().context("no socket id in the greeting")?;
                for channel in &self.channels {
                    let request = self.request(socket_id, channel)?;
                    socket.send(Message::text(request.to_string())).await?;
                }
                Ok(false)
            }
            "pusher:ping" => {
                socket.send(Message::text(r#"{"event":"pusher:pong","data":{}}"#)).await?;
                Ok(false)
            }
            name => Ok(!name.starts_with("pusher:") && !name.starts_with("pusher_internal:")),
        }
    }

    fn request(&self, socket_id: &str, channel: &str) -> anyhow::Result<Value> {
        let kind = ChannelName::parse(channel)?.kind();
        let data = kind.is_presence().then(|| json!({ "user_id": self.user }).to_string());
        let mut request = json!({ "channel": channel });
        if kind.is_guarded() {
            let key = (self.target.key.as_str(), &self.target.secret());
            request["auth"] = subscription(key, socket_id, channel, data.as_deref()).into();
        }
        if let Some(data) = data {
            request["channel_data"] = data.into();
        }
        Ok(json!({ "event": "pusher:subscribe", "data": request }))
    }
}
