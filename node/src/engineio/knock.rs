//! What comes to a session from requests, and how it answers them.

use std::sync::Arc;

use axum::body::Body;
use proto::engineio::Refusal;
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;

use crate::outbox::Outbox;
use crate::places::Places;
use crate::socket::Socket;

/// All sessions of a node that began with polling.
pub type Sessions = Places<Knock>;

/// A request that a session has to answer.
#[derive(Debug)]
pub enum Knock {
    /// A GET.
    Poll(Reply),
    /// A POST, whose body is still to be read.
    Post(Body, Reply),
    /// A WebSocket that may become the session's transport.
    Socket(Box<WebSocketStream<Socket>>, Arc<Outbox>),
}

/// Where the answer goes.
pub(super) type Reply = oneshot::Sender<Answer>;

/// A session's answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// A payload, for a GET.
    Payload(String),
    /// The body of a POST was taken.
    Taken,
    /// The body of a POST is too large.
    TooLarge,
    /// The session does not take the request.
    Refused(Refusal),
}
