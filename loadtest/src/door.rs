//! How subscribers come in: what is sent, and what is waited for, at each door.

use std::fmt;

use clap::ValueEnum;
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
    /// Wait for a message that has these words in it.
    Expect(&'static str),
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
