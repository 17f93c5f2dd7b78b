//! The reading side of a connection: messages over WebSocket or HTTP, or nothing, where the client
//! only listens.

use std::future::poll_fn;
use std::time::Duration;

use futures_util::StreamExt;
use proto::engineio;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::engineio::Link;
use crate::exchange::Exchange;
use crate::outbox::Outbox;
use crate::socket::Socket;

/// How long a client may take to read why it is closed, and to close its side.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a connection is read from.
#[derive(Debug)]
pub enum Reader {
    /// WebSocket messages.
    WebSocket(Box<WebSocketStream<Socket>>),
    /// A client that only listens; what it sends means nothing.
    Silent(Socket),
    /// An Engine.IO session, over whichever transport.
    Link(Box<Link>),
    /// A Pusher session over HTTP.
    Exchange(Box<Exchange>),
}

impl Reader {
    /// Reads WebSocket messages.
    #[must_use]
    pub fn of(stream: WebSocketStream<Socket>) -> Self {
        Self::WebSocket(Box::new(stream))
    }

    /// The client has said who it is.
    pub const fn trust(&mut self) {
        if let Self::Link(link) = self {
            link.trust();
        }
    }

    /// The next message; none when the client has ended the connection.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        match self {
            Self::WebSocket(stream) => stream.next().await,
            Self::Silent(socket) => {
                let mut scratch = [0; 32];
                loop {
                    match socket.read(&mut scratch).await {
                        Ok(0) => return None,
                        Ok(_) => {}
                        Err(error) => return Some(Err(error.into())),
                    }
                }
            }
            Self::Link(link) => match link.next().await {
                Ok(engineio::Message::Text(text)) => Some(Ok(Message::text(text))),
                Ok(engineio::Message::Binary(bytes)) => Some(Ok(Message::binary(bytes))),
                Err(_) => None,
            },
            Self::Exchange(exchange) => exchange.next().await,
        }
    }

    /// Sends what is left, and ends. A stream ends with its socket.
    pub async fn part(&mut self, outbox: &Outbox) {
        match self {
            Self::WebSocket(stream) => part(stream, outbox).await,
            Self::Silent(_) => {
                // A client that does not read loses the last of it.
                let _ = timeout(FAREWELL, poll_fn(|context| outbox.poll_empty(context))).await;
            }
            Self::Link(link) => link.part().await,
            Self::Exchange(exchange) => {
                // Nor does a client hear it that does not listen again.
                let _ = timeout(FAREWELL, exchange.part()).await;
            }
        }
    }
}

/// Sends what is left, and reads until the client has closed its side: a socket that is closed with
/// unread bytes takes the close frame down with it. A client that does not close is left after
/// three seconds.
pub async fn part(stream: &mut WebSocketStream<Socket>, outbox: &Outbox) {
    let both = async {
        if poll_fn(|context| outbox.poll_empty(context)).await.is_err() {
            return;
        }
        while let Some(Ok(_)) = stream.next().await {}
        // The reader may have answered the client's close; if the socket failed it is over.
        let _ = poll_fn(|context| outbox.poll_empty(context)).await;
        // The reader ends at an error; what the client still sends is of no interest.
        let mut scratch = [0; 1024];
        while matches!(stream.get_mut().read(&mut scratch).await, Ok(1..)) {}
    };
    // Boxed: it is not needed while the connection lives.
    let _ = timeout(FAREWELL, Box::pin(both)).await;
}
