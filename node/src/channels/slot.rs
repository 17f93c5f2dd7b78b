//! What this node keeps of one slot: its channels if it serves it, a copy if it is the successor,
//! and what waits while the slot changes hands.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proto::channel::{Channel, Command};
use proto::cluster::message::{Ack, Answer};
use proto::cluster::ownership::{Ownership, Phase as Hold};
use proto::cluster::replication::{Replica, Replication};
use proto::cluster::takeover::Takeover;
use proto::idempotency::{Idempotency, ItemKey};
use proto::quota::Ledger;
use proto::{AppId, ChannelKey, Epoch, RelayId};
use ractor::ActorRef;

use crate::channel::{Message, Vitals};

use super::request::{Replier, Request, Waiter};

/// Questions that wait for one slot at most while it changes hands.
const HELD_MAX: usize = 4_096;

/// One slot.
#[derive(Debug)]
pub(super) struct SlotState {
    pub(super) ownership: Ownership,
    pub(super) channels: HashMap<ChannelKey, Entry>,
    pub(super) idempotency: Idempotency,
    pub(super) ledgers: HashMap<AppId, Ledger>,
    /// Questions that came while the slot changes hands, in their order.
    pub(super) held: VecDeque<Request>,
    /// What was gathered so far by a node that is about to serve.
    pub(super) takeover: Takeover,
    pub(super) replication: Replication<Waiter>,
    pub(super) replica: Option<Replica>,
    /// Nodes that keep what they had of the slot until it is held by two nodes again.
    pub(super) keepers: Vec<RelayId>,
    /// The successor refused a record: it has another view.
    pub(super) is_refused: bool,
}

/// A channel in the table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) epoch: Epoch,
    pub(super) vitals: Arc<Vitals>,
    pub(super) phase: Phase,
    /// The generation of replication under which its whole state was sent.
    pub(super) seeded: u64,
}

/// Whether a channel can be asked.
#[derive(Debug)]
pub(super) enum Phase {
    Running {
        actor: ActorRef<Message>,
        sent: u64,
    },
    /// The actor failed: what other nodes and the relays have is being gathered, or it failed too
    /// often.
    Down,
}

impl SlotState {
    pub(super) fn new(ownership: Ownership) -> Self {
        Self {
            ownership,
            channels: HashMap::new(),
            idempotency: Idempotency::default(),
            ledgers: HashMap::new(),
            held: VecDeque::new(),
            takeover: Takeover::default(),
            replication: Replication::default(),
            replica: None,
            keepers: Vec::new(),
            is_refused: false,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        *self.ownership.phase() == Hold::Serving
    }

    /// Lets a request pass if the slot is served here; otherwise it waits or goes back.
    pub(super) fn admit(&mut self, request: Request) -> Option<Request> {
        match self.ownership.phase() {
            Hold::Serving => return Some(request),
            Hold::Elsewhere => request.replier.answer(Answer::NotOwner),
            Hold::Taking { .. } | Hold::Ceding { .. } => {
                if self.held.len() < HELD_MAX {
                    self.held.push_back(request);
                } else {
                    request.replier.answer(Answer::Unavailable);
                }
            }
        }
        None
    }

    /// Keeps a copy; one of another owner that it replaces is kept until it is complete.
    pub(super) fn keep(&mut self, channels: Vec<(ChannelKey, Channel)>, next: &RelayId) {
        let idempotency = std::mem::take(&mut self.idempotency);
        self.replica = Some(Replica::of_ceded(next.clone(), channels, idempotency));
    }

    /// Everyone who waits for a second node gets an answer.
    pub(super) fn finish_waiting(&mut self, reached: Ack) {
        for waiter in self.replication.give_up() {
            waiter.finish(reached);
        }
    }
}

impl Entry {
    /// Puts a command into the actor's mailbox.
    pub(super) fn send(
        &mut self,
        command: Command,
        item: Option<ItemKey>,
        ack: Option<Ack>,
        replier: Option<Replier>,
    ) {
        if let Phase::Running { actor, sent } = &mut self.phase {
            // A mailbox that is closed drops the message, and with it the replier says so.
            let is_sent = actor.cast(Message::Command { command, item, ack, replier }).is_ok();
            *sent += u64::from(is_sent);
        }
    }

    /// Gives the actor anything else.
    pub(super) fn cast(&mut self, message: Message) {
        if let Phase::Running { actor, sent } = &mut self.phase {
            *sent += u64::from(actor.cast(message).is_ok());
        }
    }
}
