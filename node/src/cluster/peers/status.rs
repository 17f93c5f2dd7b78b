//! How links do, for whoever looks.

use std::sync::Arc;

use proto::RelayId;
use proto::cluster::link::Health;

use super::{Peer, Peers};

/// What can be seen of a link.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The other end.
    pub peer: RelayId,
    /// Whether there is a connection, and how it does.
    pub state: &'static str,
    /// Bytes that wait or are not acknowledged.
    pub backlog: usize,
    /// Questions without an answer.
    pub asks: usize,
    /// How long the last batch took to be dealt with and acknowledged.
    pub round_trip_micros: u64,
    /// Batches sent and received.
    pub batches: (u64, u64),
}

impl Peers {
    /// How all links do.
    #[must_use]
    pub fn status(&self) -> Vec<LinkStatus> {
        let now = self.0.clock.moment();
        let status = |peer: &Arc<Peer>| {
            let state = peer.lock();
            let health = match (state.link.is_connected(), state.link.health(now)) {
                (true, Health::Up) => "up",
                (true, _) => "suspect",
                (false, _) => "down",
            };
            LinkStatus {
                peer: peer.id.clone(),
                state: health,
                backlog: state.link.backlog(),
                asks: state.asks.len(),
                round_trip_micros: u64::try_from(state.link.round_trip().as_micros())
                    .unwrap_or(u64::MAX),
                batches: (state.sent, state.received),
            }
        };
        let mut all: Vec<LinkStatus> = self.0.peers.load().values().map(status).collect();
        all.sort_by(|a, b| a.peer.cmp(&b.peer));
        all
    }
}
