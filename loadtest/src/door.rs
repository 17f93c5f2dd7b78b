//! How subscribers come in: what is sent, and what is waited for, at each door.

use std::fmt;

use clap::ValueEnum;
use proto::app::Secret;
use proto::pusher::auth::subscription;
use proto::token::{Grant, issue};
use serde::Serialize;
use serde_json::json;

use crate::dialect::Credentials;
use crate::frame::{TEXT, masked};

/// A door of Handbell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// Pusher's protocol 7.
    #[default]
    Pusher,
    /// The plain WebSocket.
    Ws,
    /// Server-Sent Events.
    Sse,
    /// Socket.IO 4, by WebSocket.
    #[value(name = "socketio")]
    SocketIo,
}

/// A step of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send bytes.
    Send(Vec<u8>),
    /// Subscribe a channel that needs an auth string, for which the connection's id must be known.
    Join(Join),
    /// Wait for a message that has these words in it.
    Expect(&'static str),
}

/// A subscription that needs an auth string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    key: String,
    secret: Secret,
    channel: String,
    /// Who joins, if it is a presence channel.
    user: Option<String>,
}

impl Join {
    /// Of a channel, as a user if it is a presence channel.
    #[must_use]
    pub fn new(app: &Credentials, channel: &str, user: Option<&str>) -> Self {
        let (key, secret) = (app.key.clone(), app.secret.clone());
        Self { key, secret, channel: channel.to_owned(), user: user.map(str::to_owned) }
    }

    /// What is sent for it.
    #[must_use]
    pub fn request(&self, socket_id: &str) -> String {
        let Self { key, secret, channel, user } = self;
        let user = user.as_ref().map(|user| json!({ "user_id": user }).to_string());
        let auth = subscription((key, secret), socket_id, channel, user.as_deref());
        let mut data = json!({ "channel": channel, "auth": auth });
        if let Some(user) = user {
            data["channel_data"] = user.into();
        }
        json!({ "event": "pusher:subscribe", "data": data }).to_string()
    }

    /// The same as a frame.
    #[must_use]
    pub fn frame(&self, socket_id: &str) -> Vec<u8> {
        masked(TEXT, self.request(socket_id).as_bytes())
    }

    /// What a greeting says that the connection is called.
    #[must_use]
    pub fn socket_id(greeting: &str) -> Option<String> {
        let (_, rest) = greeting.split_once("socket_id")?;
        let id = rest.trim_start_matches(['\\', '"', ':', ' ']);
        let end = id.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        Some(id[..end].to_owned())
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pusher => "pusher",
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::SocketIo => "socketio",
        })
    }
}

impl Door {
    /// The path that is asked for.
    #[must_use]
    pub fn path(self, app: &Credentials, channel: &str) -> String {
        let key = &app.key;
        match self {
            Self::Pusher => {
                let version = env!("CARGO_PKG_VERSION");
                format!("/app/{key}?protocol=7&client=handbell-loadtest&version={version}")
            }
            Self::Ws => format!("/ws?app={key}&token={}", token(app)),
            Self::Sse => format!("/sse/{channel}?app={key}"),
            Self::SocketIo => format!("/socket.io/?EIO=4&transport=websocket&app={key}"),
        }
    }

    /// What follows, until the channel is subscribed.
    #[must_use]
    pub fn steps(self, app: &Credentials, channel: &str) -> Vec<Step> {
        let text = |text: String| Step::Send(masked(TEXT, text.as_bytes()));
        match self {
            Self::Pusher => vec![
                Step::Expect("pusher:connection_established"),
                Step::Send(subscribe(channel)),
                Step::Expect("subscription_succeeded"),
            ],
            Self::Ws => {
                let request = json!({ "type": "subscribe", "channel": channel });
                vec![text(request.to_string()), Step::Expect("subscribed")]
            }
            // Its place is the first that a subscriber is told.
            Self::Sse => vec![Step::Expect("id: ")],
            Self::SocketIo => {
                let auth = json!({ "token": token(app) });
                let request = json!(["subscribe", { "topic": channel, "ackRequired": false }]);
                vec![
                    Step::Expect("pingInterval"),
                    text(format!("40{auth}")),
                    Step::Expect("connectionId"),
                    text(format!("420{request}")),
                    Step::Expect("success"),
                ]
            }
        }
    }

    /// Whether what comes is an event stream, and no WebSocket frames.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Sse)
    }
}

/// The frame by which a Pusher client subscribes to a public channel.
#[must_use]
pub fn subscribe(channel: &str) -> Vec<u8> {
    let request = json!({ "event": "pusher:subscribe", "data": { "channel": channel } });
    masked(TEXT, request.to_string().as_bytes())
}

/// A token that allows everything, for as long as any run may last.
fn token(app: &Credentials) -> String {
    const YEAR_3000: u64 = 32_503_680_000;
    let permissions = ["*".to_owned()];
    let grant =
        Grant { sub: "loadtest", exp: YEAR_3000, permissions: &permissions, ..Grant::default() };
    issue(&app.secret, &grant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_called_as_the_greeting_says() {
        let greeting = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.345\",\"activity_timeout\":30}"}"#;
        assert_eq!(Join::socket_id(greeting).as_deref(), Some("12.345"));
        assert_eq!(Join::socket_id("{}"), None);
    }

    #[test]
    fn a_member_signs_who_it_is() {
        // The example of Pusher's documents.
        let app = Credentials {
            app_id: "1".into(),
            key: "278d425bdf160c739803".into(),
            secret: Secret::new("7ad3773142a6692b25b8"),
        };
        let request = Join::new(&app, "private-foobar", None).request("1234.1234");
        let auth =
            "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        assert!(request.contains(auth), "{request}");
        let request = Join::new(&app, "presence-a", Some("bob")).request("1234.1234");
        assert!(request.contains(r#""channel_data":"{\"user_id\":\"bob\"}""#), "{request}");
    }
}
