//! Questions to a slot: whether they may be answered here, and by whom.

use crate::channel::{Command, Published, Reply, Summary};
use crate::idempotency::ItemKey;
use crate::name::{AppId, ChannelKey};
use crate::quota::Usage;
use crate::time::Now;

use super::super::message::{Ack, Answer, Ask};
use super::super::ownership::Phase;
use super::super::replication::Record;
use super::{Custody, Effects, HELD_MAX, Running};

/// Whether a question may be answered now.
#[derive(Debug)]
pub enum Admission<R> {
    /// It may: see [`Custody::dispatch`].
    Now(R),
    /// It waits here.
    Held,
    /// Another node is to be asked.
    NotOwner(R),
    /// Too many wait already.
    Full(R),
}

/// Who answers a question.
#[derive(Debug)]
pub enum Dispatch<'a, C> {
    /// This channel.
    Channel(&'a mut C, Command, Option<Ack>),
    /// A channel has to begin for it, if there is room for one more.
    Begin(ChannelKey, Command, Option<Ack>),
    /// The ledger of an app.
    Ledger(AppId, Usage),
    /// It is answered.
    Answered(Answer),
}

impl<C, R, W> Custody<C, R, W> {
    /// Lets a question pass if the slot is served here; otherwise it waits or goes back.
    pub fn admit(&mut self, question: R) -> Admission<R> {
        match self.phase() {
            Phase::Serving => Admission::Now(question),
            Phase::Elsewhere => Admission::NotOwner(question),
            Phase::Taking { .. } | Phase::Ceding { .. } if self.held.len() < HELD_MAX => {
                self.held.push_back(question);
                Admission::Held
            }
            Phase::Taking { .. } | Phase::Ceding { .. } => Admission::Full(question),
        }
    }

    /// Finds out who answers a question that was admitted.
    pub fn dispatch(&mut self, ask: Ask, now: Now, effects: &mut Effects<R, W>) -> Dispatch<'_, C> {
        match ask {
            Ask::Channel { key, command, ack } => {
                if !self.channels.contains_key(&key) {
                    return self.first(key, command, ack, (now, effects));
                }
                match self.channels.get_mut(&key).map(|entry| &mut entry.channel) {
                    Some(Running::Yes(channel)) => Dispatch::Channel(channel, command, ack),
                    _ => Dispatch::Answered(Answer::Unavailable),
                }
            }
            Ask::Claim { app, key, fingerprint } => {
                let claimed = self.idempotency.claim(&app, &key, fingerprint, now.moment);
                Dispatch::Answered(match claimed {
                    Ok(()) => {
                        self.send_record(Record::Claimed(app, key, fingerprint), now, effects);
                        Answer::Claimed
                    }
                    Err(refusal) => Answer::Refused(refusal),
                })
            }
            Ask::Lease(app, usage) => Dispatch::Ledger(app, usage),
            // They are about all slots, or none: the node answers them.
            Ask::List(_)
            | Ask::Notify(..)
            | Ask::Spend(..)
            | Ask::Terminate(..)
            | Ask::Transports(_) => Dispatch::Answered(Answer::Unavailable),
        }
    }

    /// A command to a channel that does not run. It is started by the first join, or by the first
    /// event that it has to remember.
    fn first(
        &mut self,
        key: ChannelKey,
        command: Command,
        ack: Option<Ack>,
        (now, effects): (Now, &mut Effects<R, W>),
    ) -> Dispatch<'_, C> {
        let reply = match &command {
            Command::Join { .. } => return Dispatch::Begin(key, command, ack),
            Command::Publish(_) if key.channel.kind().cache => {
                return Dispatch::Begin(key, command, ack);
            }
            Command::Publish(_)
                if ack == Some(Ack::Replicated) && self.best_ack() < Ack::Replicated =>
            {
                return Dispatch::Answered(Answer::Unavailable);
            }
            Command::Publish(_) => {
                Reply::Published(self.publish_to_nobody(&key, &command, (now, effects)))
            }
            // What is true of a channel that does not run: nobody is there, nothing is remembered.
            Command::Inspect => Reply::Channel(Summary::default()),
            Command::Members => Reply::Members(Vec::new()),
            _ => Reply::Done,
        };
        Dispatch::Answered(Answer::Reply(reply, self.best_ack()))
    }

    fn publish_to_nobody(
        &mut self,
        key: &ChannelKey,
        command: &Command,
        (now, effects): (Now, &mut Effects<R, W>),
    ) -> Published {
        let Some(item) = ItemKey::of(key, command) else {
            return Published::default();
        };
        if let Some(earlier) = self.remembered(&item, now.moment) {
            return earlier;
        }
        self.remember(item, Published::default(), now, effects);
        Published::default()
    }
}
