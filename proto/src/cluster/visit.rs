//! What a client's request says to a session that another node has, and what that answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engineio::Refusal;

/// A request for a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Visit {
    /// The session's id, at its door.
    pub id: String,
    /// What the client wants.
    pub errand: Errand,
}

/// What a client wants of its session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Errand {
    /// Engine.IO: a GET, for what waits or comes next.
    Poll,
    /// Engine.IO: a GET that waits is to be answered with nothing.
    Release,
    /// Engine.IO: the body of a POST.
    Post(Bytes),
    /// Pusher over HTTP: what waits or comes next.
    Listen {
        /// Whether the client asks by itself, which is a sign of life; else its response goes on.
        is_asked: bool,
    },
    /// Pusher over HTTP: messages, or none as a sign of life.
    Say(Vec<String>),
}

/// A session's answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Visited {
    /// What waited.
    Payload(String),
    /// What was said was taken.
    Taken,
    /// What was said is too large.
    TooLarge,
    /// The session does not take the request.
    Refused(Refusal),
    /// There is no such session, or not any more.
    Gone,
}
