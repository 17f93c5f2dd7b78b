//! Copies: what is sent to the successor of a slot, and what is kept for the owner of one.

use std::sync::Arc;

use crate::channel::{Channel, Command, Delivery, Effect as Wanted, Published};
use crate::idempotency::ItemKey;
use crate::name::{ChannelKey, RelayId};
use crate::time::{Moment, Now};

use super::super::message::{Ack, Message};
use super::super::replication::{Mark, Record, Replica};
use super::{Custody, Effect, Effects, Running};

/// A change that a channel has made.
#[derive(Debug)]
pub struct Change<'a> {
    /// The channel.
    pub key: &'a ChannelKey,
    /// What was applied; none to say the whole channel if the successor lacks it.
    pub command: Option<Command>,
    /// The answer of a keyed publish.
    pub answered: Option<(ItemKey, Published)>,
    /// When it was applied.
    pub now: Now,
    /// The channel after it.
    pub machine: &'a Channel,
    /// What the channel wants done. The copy of a publication for the successor's relay is taken
    /// out: it goes along with the record.
    pub wanted: &'a mut Vec<Wanted>,
}

impl<C, R, W> Custody<C, R, W> {
    /// A channel has changed: its successor is told. `waiters` are finished when the successor has it,
    /// or at once if there is none.
    pub fn changed(
        &mut self,
        change: Change<'_>,
        waiters: impl IntoIterator<Item = W>,
        effects: &mut Effects<R, W>,
    ) {
        let Change { key, command, answered, now, machine, wanted } = change;
        if let Some((item, published)) = &answered {
            self.idempotency.remember(item.clone(), published.clone(), now.moment);
        }
        let generation = self.replication.generation();
        let Some(entry) = self.channels.get_mut(key) else {
            // A channel that was stopped takes its state along; its next owner has this change.
            self.leaving.extend(waiters);
            return;
        };
        let is_seeded = std::mem::replace(&mut entry.seeded, generation) == generation;
        let record = match command {
            Some(Command::Publish(_)) if is_seeded && self.send_along(key, wanted, effects) => None,
            Some(command) if is_seeded => Some(Record::Applied(key.clone(), command)),
            None if is_seeded => None,
            _ => Some(Record::Whole(key.clone(), Box::new(machine.clone()), answered)),
        };
        if let Some(record) = record.filter(|_| self.replication.successor().is_some()) {
            self.send_record(record, now, effects);
            self.complete(now, effects);
        }
        waiters.into_iter().for_each(|waiter| self.wait(waiter, effects));
    }

    /// Sends the successor the record of a publish together with the publication, if its relay is to
    /// get it anyway.
    fn send_along(
        &mut self,
        key: &ChannelKey,
        wanted: &mut Vec<Wanted>,
        effects: &mut Effects<R, W>,
    ) -> bool {
        let successor = self.replication.successor();
        let is_for_successor =
            |effect: &Wanted| matches!(effect, Wanted::Relay { to, .. } if Some(to) == successor);
        let Some(place) = wanted.iter().position(is_for_successor) else {
            return false;
        };
        let Wanted::Relay { delivery: Delivery::Published(publication), .. } = &wanted[place]
        else {
            return false;
        };
        let publication = Arc::clone(publication);
        let Some((to, mark)) = self.replication.take_mark() else {
            return false;
        };
        wanted.remove(place);
        let message = Message::Published(mark, key.clone(), publication);
        effects.push(Effect::Send(to, message));
        true
    }

    /// Waits until a second node has everything so far, if there can be one.
    pub(super) fn wait(&mut self, waiter: W, effects: &mut Effects<R, W>) {
        if self.replication.successor().is_none() {
            return effects.push(Effect::Finish(waiter, Ack::Sequenced));
        }
        let confirmed = self.replication.wait(waiter);
        effects.extend(confirmed.map(|waiter| Effect::Finish(waiter, Ack::Replicated)));
    }

    /// The earlier answer of a keyed publish.
    pub fn remembered(&mut self, item: &ItemKey, now: Moment) -> Option<Published> {
        self.idempotency.answer(item, now)
    }

    /// Keeps the answer of a keyed publish that changed nothing here.
    pub fn remember(
        &mut self,
        item: ItemKey,
        published: Published,
        now: Now,
        effects: &mut Effects<R, W>,
    ) {
        self.idempotency.remember(item.clone(), published.clone(), now.moment);
        self.send_record(Record::Answered(item, published), now, effects);
    }

    /// A channel has ended: nothing of it is retained.
    pub fn ended(&mut self, key: &ChannelKey, now: Now, effects: &mut Effects<R, W>) {
        if self.channels.remove(key).is_some() {
            self.send_record(Record::Ended(key.clone()), now, effects);
            self.complete(now, effects);
        }
    }

    pub(super) fn send_record(
        &mut self,
        record: Record,
        now: Now,
        effects: &mut Effects<R, W>,
    ) -> Option<Mark> {
        let (to, mark) = self.replication.take_mark()?;
        let message = Message::Replicate(self.slot, mark, now, Box::new(record));
        effects.push(Effect::Send(to, message));
        Some(mark)
    }

    /// Sends everything of the slot to this successor, from the beginning.
    pub(super) fn aim(&mut self, to: Option<RelayId>, now: Now, effects: &mut Effects<R, W>) {
        if let Some(earlier) = self.replication.successor().cloned()
            && Some(&earlier) != to.as_ref()
        {
            self.keepers.insert(earlier);
        }
        let is_alone = to.is_none();
        self.replication.aim(to);
        if is_alone {
            let waited = self.replication.give_up().into_iter();
            effects.extend(waited.map(|waiter| Effect::Finish(waiter, Ack::Sequenced)));
            return self.settle(effects);
        }
        self.send_record(Record::Begin, now, effects);
        effects.extend(self.channels.keys().map(|key| Effect::Seed(key.clone())));
        self.complete(now, effects);
    }

    /// Begins anew with a successor whose messages may be lost.
    pub(super) fn aim_again(&mut self, peer: &RelayId, now: Now, effects: &mut Effects<R, W>) {
        if self.is_serving() && self.replication.successor() == Some(peer) {
            self.aim(Some(peer.clone()), now, effects);
        }
    }

    /// When every channel has been sent whole, says so to the successor.
    fn complete(&mut self, now: Now, effects: &mut Effects<R, W>) {
        if self.replication.was_completed() {
            return;
        }
        let generation = self.replication.generation();
        let is_seeded = self
            .channels
            .values()
            .all(|entry| entry.seeded == generation || matches!(entry.channel, Running::Failed));
        if !is_seeded {
            return;
        }
        if !self.idempotency.is_empty() {
            self.send_record(Record::Remembered(self.idempotency.clone()), now, effects);
        }
        if let Some(mark) = self.send_record(Record::Complete, now, effects) {
            self.replication.completed(mark);
        }
    }

    /// Takes in a record of the owner. False if the sender is not the owner in this node's view, or
    /// something before the record is missing.
    pub(super) fn keep(
        &mut self,
        (from, mark): (&RelayId, Mark),
        record: Record,
        times: (Now, Moment),
    ) -> bool {
        self.ownership.owner() == Some(from)
            && Replica::take(&mut self.replica, (from, mark), record, times)
    }

    pub(super) fn confirmed(&mut self, by: &RelayId, mark: Mark, effects: &mut Effects<R, W>) {
        let ready = self.replication.confirm(by, mark).into_iter();
        effects.extend(ready.map(|waiter| Effect::Finish(waiter, Ack::Replicated)));
        self.settle(effects);
    }

    /// What a publish reaches that nobody has to wait for.
    #[must_use]
    pub const fn best_ack(&self) -> Ack {
        match self.replication.successor() {
            Some(_) => Ack::Replicated,
            None => Ack::Sequenced,
        }
    }

    /// Records that the successor has not confirmed.
    #[must_use]
    pub const fn lag(&self) -> u64 {
        match self.replication.successor() {
            Some(_) => self.replication.lag(),
            None => 0,
        }
    }

    /// Channels of which a copy is kept for another node.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.replica.as_ref().map_or(0, Replica::len)
    }
}
