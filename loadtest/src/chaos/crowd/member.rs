//! One connection of a crowd.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use super::super::stage::app;
use crate::client::Opening;
use crate::dialect::Dialect;
use crate::door::{Door, subscribe};

/// How long a node may take for one answer.
const STEP_MAX: Duration = Duration::from_secs(10);

/// A connection that is subscribed to its channels and does nothing.
pub(super) struct Member(TcpStream);

impl Member {
    /// Connects and subscribes to all of them.
    pub(super) fn join(address: SocketAddr, channels: &[String]) -> anyhow::Result<Self> {
        let dialect = Dialect::Pusher(app(), Door::Pusher);
        let mut opening = Opening::connect(address, None, STEP_MAX)?;
        opening.send(dialect.opening("").as_bytes())?;
        opening.switched()?;
        opening.text("connection_established")?;
        let requests = channels.iter().flat_map(|channel| subscribe(channel));
        opening.send(&requests.collect::<Vec<u8>>())?;
        for channel in channels {
            opening.text("subscription_succeeded").with_context(|| channel.clone())?;
        }
        let (stream, _) = opening.into_parts();
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    /// Whether the server has left it open and said nothing.
    pub(super) fn is_open(&self) -> bool {
        self.0.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
