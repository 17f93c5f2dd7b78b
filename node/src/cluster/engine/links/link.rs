//! One session on its way from the handshake to its end, and what is remembered with it.

use std::sync::Arc;
use std::time::Duration;

use proto::cluster::handshake::Refusal;
use ractor::{ActorRef, RpcReplyPort};
use ractor_cluster::NodeSessionMessage;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Message;
use crate::cluster::engine::session::{Arrivals, Session};

/// A handshake that is under way, in either direction.
pub(super) struct Attempt {
    /// Our dial, if it is or was one of ours.
    pub(super) dial: Option<AbortHandle>,
    pub(super) since: Instant,
}

/// A session and what only its owner knows of it.
pub(super) struct Link {
    pub(super) session: Arc<Session>,
    pub(super) stage: Stage,
    /// Whether [`Event::DialFailed`] is owed if it never gets up.
    pub(super) is_dialled: bool,
    pub(super) actor: Option<ActorRef<NodeSessionMessage>>,
    pub(super) arrivals: Option<Arrivals>,
    /// Peers of the same id that wait for the end of this session.
    pub(super) waiting: Vec<RpcReplyPort<Result<(), Refusal>>>,
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// We dialled, and it may take so much longer.
    Dialled { left: Duration },
    /// The peer dialled, and perhaps we had as well.
    Accepted { is_dialled: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Opening,
    Up,
    Closing { was_up: bool },
}

/// Closes the session when a lane's task has ended: when that panicked, the lane would be dead.
pub(super) struct EndOfLane(pub(super) u64, pub(super) ActorRef<Message>);

impl Drop for EndOfLane {
    fn drop(&mut self) {
        // The session has usually ended already, and perhaps the engine.
        let _ = self.1.cast(Message::Close(self.0));
    }
}

pub(super) fn answer(reply: RpcReplyPort<Result<(), Refusal>>, answer: Result<(), Refusal>) {
    // Whoever asked may have been gone for long.
    let _ = reply.send(answer);
}

pub(super) fn remind(myself: &ActorRef<Message>, number: u64, after: Duration) {
    let myself = myself.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        // The engine may have been stopped meanwhile.
        let _ = myself.cast(Message::Overdue(number));
    });
}
