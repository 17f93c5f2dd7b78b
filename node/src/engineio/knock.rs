//! What comes to a session from requests, and how it answers them.

use std::sync::Arc;

use axum::body::Body;
use proto::cluster::visit::Visited;
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;

use crate::outbox::Outbox;
use crate::socket::Socket;

/// A request that a session has to answer.
#[derive(Debug)]
pub(super) enum Knock {
    /// A GET.
    Poll(Reply),
    /// A GET that waits is to be answered with nothing.
    Release(Reply),
    /// A POST, whose body is still to be read.
    Post(Body, Reply),
    /// A WebSocket that may become the session's transport.
    Socket(Box<WebSocketStream<Socket>>, Arc<Outbox>),
}

/// Where the answer goes.
pub(super) type Reply = oneshot::Sender<Visited>;
