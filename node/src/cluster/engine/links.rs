//! The owner of the sessions: it starts `ractor_cluster` and the gateways, gives it authenticated
//! connections, and follows each session from there to its end.
//!
//! ```text
//!            authenticated                 the peer's gateways are found
//!  (attempt) ─────────────► Opening ─────────────────────────────────────► Up
//!                              │ overdue, or closed by us                   │ closed by us
//!                              ▼                                            ▼
//!                           Closing ◄───────────────────────────────────────┘
//!                              │ its actor has stopped (from every state)
//!                              ▼
//!                        DialFailed, or Down if it had been up
//! ```
//!
//! `ractor_cluster` elects between sessions of one pair of nodes by a random number, which can end
//! the live one. So it never sees two: an attempt is not begun while there is a session, and a
//! peer that dials although there is one has lost its end of it, so ours is ended first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::RelayId;
use proto::cluster::handshake::{Agreed, Refusal};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::node::NodeServerSessionInformation;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dial::DialError;
use super::stream::Stream;
use super::{Event, Inbox, Seen, Shared};

mod link;
mod server;
mod state;

use state::State;

/// How long a dial may take until the session is up.
pub(super) const DIAL_MAX: Duration = Duration::from_millis(1500);
/// How long an accepted session may take from the handshake until it is up.
const OPENING_MAX: Duration = Duration::from_secs(3);
/// How long a session's actor may take to stop before it is killed.
const CLOSING_MAX: Duration = Duration::from_millis(500);
/// How long an attempt keeps others with the same peer from being begun, if nothing is heard of it.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);

/// What the owner of the sessions is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Dial this life of a node.
    Dial(RelayId, SocketAddr),
    /// How the handshake of a dial ended.
    Dialled(Dialled),
    /// A peer has proved itself; may it have a session, or would it if this is a probe? Answered when
    /// an older session has ended.
    Admit(RelayId, bool, RpcReplyPort<Result<(), Refusal>>),
    /// A peer was admitted and its handshake is complete.
    Accepted(Agreed, Stream),
    /// `ractor_cluster` has started a session.
    Opened(NodeServerSessionInformation),
    /// `ractor_cluster` has exchanged gateways with the peer.
    Ready(NodeServerSessionInformation),
    /// A session of `ractor_cluster` has ended.
    Disconnected(NodeServerSessionInformation),
    /// End a session.
    Close(u64),
    /// A session should have left the stage it was in.
    Overdue(u64),
    /// What gossip knows.
    Gossip(Vec<Seen>),
    /// A seed answered and refused.
    Rejected(SocketAddr, Refusal),
    /// Tasks that end with this actor.
    Tasks(JoinSet<()>),
    /// A task without which the engine cannot go on has ended.
    Ended(&'static str),
}

impl ractor::Message for Message {}

/// How the handshake of a dial ended.
#[derive(Debug)]
pub(super) struct Dialled {
    peer: RelayId,
    address: SocketAddr,
    began: Instant,
    outcome: Result<(Agreed, Stream), DialError>,
}

/// What the owner is started with.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) inbox: Arc<dyn Inbox>,
}

/// The owner of the sessions.
pub(super) struct Links;

impl Actor for Links {
    type Msg = Message;
    type State = State;
    type Arguments = Parts;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        parts: Parts,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State::start(parts, myself).await?)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.forget_lanes();
        match message {
            Message::Dial(peer, address) => state.dial(peer, address),
            Message::Dialled(dialled) => state.dialled(dialled).await,
            Message::Admit(peer, is_probe, reply) => state.admit(&peer, is_probe, reply),
            Message::Accepted(agreed, stream) => state.accepted(agreed, stream),
            Message::Opened(session) => state.opened(session),
            Message::Ready(session) => state.ready(&session).await,
            Message::Disconnected(session) => state.disconnected(&session).await,
            Message::Close(number) => state.close(number, "closed by this node"),
            Message::Overdue(number) => state.overdue(number).await,
            Message::Gossip(seen) => state.gossip(seen).await,
            Message::Rejected(address, refusal) => {
                state.rejected(address, refusal.to_string()).await;
            }
            Message::Tasks(tasks) => state.keep(tasks),
            Message::Ended(task) => return Err(format!("{task} has ended").into()),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(child, error) => {
                state.replace(child.get_id(), &error.to_string()).await
            }
            SupervisionEvent::ActorTerminated(child, _, reason) => {
                let reason = reason.unwrap_or_else(|| "it stopped".into());
                state.replace(child.get_id(), &reason).await
            }
            _ => Ok(()),
        }
    }
}
