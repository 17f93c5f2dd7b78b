//! One slot of the table: what the machine keeps of it, with an actor for each channel.

use std::collections::HashMap;
use std::sync::Arc;

use proto::AppId;
use proto::channel::Command;
use proto::cluster::custody::{Custody, Effect};
use proto::cluster::message::Ack;
use proto::quota::Ledger;
use ractor::ActorRef;

use crate::channel::{Message, Vitals};

use super::request::{Replier, Request, Waiter};

/// What one slot wants done.
pub(super) type Effects = Vec<Effect<Request, Waiter>>;

/// One slot.
#[derive(Debug)]
pub(super) struct SlotState {
    pub(super) custody: Custody<Mailbox, Request, Waiter>,
    /// What apps may use, of those whose quota has its slot here.
    pub(super) ledgers: HashMap<AppId, Ledger>,
}

/// How a channel's actor is reached.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) actor: ActorRef<Message>,
    /// Messages that were put into it.
    pub(super) sent: u64,
    pub(super) vitals: Arc<Vitals>,
}

impl Mailbox {
    /// Gives the channel a command.
    pub(super) fn send(&mut self, command: Command, ack: Option<Ack>, replier: Option<Replier>) {
        self.cast(Message::Command { command, ack, replier });
    }

    /// Gives the channel anything else.
    pub(super) fn cast(&mut self, message: Message) {
        // A mailbox that is closed drops the message, and with it the replier says so.
        self.sent += u64::from(self.actor.cast(message).is_ok());
    }
}
