//! The open sessions, as everyone but their owner sees them: where to send frames of a session, and
//! where frames that arrive for it go.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use proto::RelayId;
use ractor::ActorRef;
use tokio::sync::mpsc;

use super::gateway::Frame;
use super::{Inbox, LANES};

/// Frames of one lane that may wait for the [`Inbox`].
pub const INBOX_FRAMES: usize = 1024;

/// A connection to one life of a node.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) peer: RelayId,
    inbound: [mpsc::Sender<Vec<u8>>; LANES],
    /// The peer's gateways, known once the session is up.
    outbound: OnceLock<[ActorRef<Frame>; LANES]>,
}

/// Frames of a session that have arrived, lane by lane.
pub(super) type Arrivals = [mpsc::Receiver<Vec<u8>>; LANES];

impl Session {
    pub(super) fn new(number: u64, peer: RelayId) -> (Arc<Self>, Arrivals) {
        let lanes: [_; LANES] = std::array::from_fn(|_| mpsc::channel(INBOX_FRAMES));
        let inbound = std::array::from_fn(|lane: usize| lanes[lane].0.clone());
        let session = Self { number, peer, inbound, outbound: OnceLock::new() };
        (Arc::new(session), lanes.map(|(_, arrivals)| arrivals))
    }

    /// Says where the peer's gateways are.
    pub(super) fn open(&self, gateways: [ActorRef<Frame>; LANES]) {
        // It is said once, by the owner of the sessions.
        let _ = self.outbound.set(gateways);
    }

    fn send(&self, lane: usize, mut frame: Vec<u8>) -> bool {
        let gateway = self.outbound.get().and_then(|gateways| gateways.get(lane));
        frame.extend_from_slice(&self.number.to_be_bytes());
        gateway.is_some_and(|gateway| gateway.cast(Frame(frame)).is_ok())
    }

    /// Takes a frame that has arrived. False if nobody takes frames fast enough, or at all.
    pub(super) fn receive(&self, lane: usize, frame: Vec<u8>) -> bool {
        self.inbound[lane].try_send(frame).is_ok()
    }
}

/// Hands what arrives in one lane to the inbox, until the session has ended.
pub(super) async fn deliver(
    session: (RelayId, u64),
    lane: usize,
    mut arrivals: mpsc::Receiver<Vec<u8>>,
    inbox: Arc<dyn Inbox>,
) {
    let (peer, number) = session;
    while let Some(frame) = arrivals.recv().await {
        inbox.receive(peer.clone(), number, lane, frame).await;
    }
}

/// All open sessions by number. One task changes it; anyone reads it without waiting.
#[derive(Debug, Default)]
pub(super) struct Sessions(ArcSwap<BTreeMap<u64, Arc<Session>>>);

impl Sessions {
    pub(super) fn publish(&self, sessions: BTreeMap<u64, Arc<Session>>) {
        self.0.store(Arc::new(sessions));
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.load().is_empty()
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Session>> {
        self.0.load().get(&number).cloned()
    }

    pub(super) fn send(&self, number: u64, lane: usize, frame: Vec<u8>) -> bool {
        self.0.load().get(&number).is_some_and(|session| session.send(lane, frame))
    }
}
