//! Copies: what this node sends to the successors of its slots, and what it keeps for the owners
//! of others.

use proto::channel::{Channel, Command};
use proto::cluster::message::{Ack, Message};
use proto::cluster::replication::{Mark, Record, Replica};
use proto::cluster::slot::Slot;
use proto::{ChannelKey, Now, RelayId};

use super::Channels;
use super::request::Waiter;
use super::slot::{Phase, SlotState};

/// A change that a channel has made.
#[derive(Debug)]
pub struct Change<'a> {
    /// The channel.
    pub key: &'a ChannelKey,
    /// What was applied; none to send the whole channel if its successor lacks it.
    pub command: Option<Command>,
    /// When, by this node's clocks.
    pub now: Now,
    /// The channel after it.
    pub machine: &'a Channel,
}

impl Channels {
    /// Sends a change to the successor. `waiter` is answered when the successor has it, or at once
    /// if there is none.
    pub fn replicate(&self, change: Change<'_>, waiter: Option<Waiter>) {
        let Change { key, command, now, machine } = change;
        let number = Slot::of(key);
        let mut slot = self.slot(number);
        let generation = slot.replication.generation();
        let has_successor = slot.replication.successor().is_some();
        let entry = slot.channels.get_mut(key);
        // A channel that is being handed over takes its state along.
        let is_leaving = entry.is_none();
        let record = entry.filter(|_| has_successor).and_then(|entry| {
            if std::mem::replace(&mut entry.seeded, generation) == generation {
                return command.map(|command| Record::Applied(key.clone(), command));
            }
            Some(Record::Whole(key.clone(), Box::new(machine.clone())))
        });
        if let Some(record) = record {
            self.send_record(&mut slot, number, now, record);
            self.complete(&mut slot, number);
        }
        match waiter {
            Some(waiter) if has_successor || is_leaving => slot.replication.wait(waiter),
            Some(waiter) => waiter.finish(Ack::Sequenced),
            None => {}
        }
    }

    pub(super) fn send_record(
        &self,
        slot: &mut SlotState,
        number: Slot,
        now: Now,
        record: Record,
    ) -> Option<Mark> {
        let (to, mark) = slot.replication.take_mark()?;
        self.peers().send(&to, &Message::Replicate(number, mark, now, Box::new(record)));
        Some(mark)
    }

    /// Sends everything of a slot to its successor in the present view, from the beginning.
    pub(super) fn aim(&self, slot: &mut SlotState, number: Slot, to: Option<RelayId>) {
        if let Some(earlier) = slot.replication.successor().cloned()
            && Some(&earlier) != to.as_ref()
            && !slot.keepers.contains(&earlier)
        {
            slot.keepers.push(earlier);
        }
        let is_alone = to.is_none();
        slot.replication.aim(to);
        if is_alone {
            slot.finish_waiting(Ack::Sequenced);
            return;
        }
        for entry in slot.channels.values_mut() {
            entry.cast(crate::channel::Message::Seed);
        }
        self.complete(slot, number);
    }

    /// When every channel has been sent whole, says so to the successor.
    pub(super) fn complete(&self, slot: &mut SlotState, number: Slot) {
        let generation = slot.replication.generation();
        let is_seeded = |entry: &super::slot::Entry| {
            entry.seeded == generation || matches!(entry.phase, Phase::Down)
        };
        if slot.replication.successor().is_none()
            || slot.replication.was_completed()
            || !slot.channels.values().all(is_seeded)
        {
            return;
        }
        let now = self.clock().now();
        if !slot.idempotency.is_empty() {
            let record = Record::Remembered(slot.idempotency.clone());
            self.send_record(slot, number, now, record);
        }
        if let Some(mark) = self.send_record(slot, number, now, Record::Complete) {
            slot.replication.completed(mark);
        }
    }

    /// Takes in a record from the owner of a slot. The mark to confirm, if the sender is its owner
    /// in this node's view too.
    #[must_use]
    pub fn keep_record(
        &self,
        (number, from): (Slot, &RelayId),
        mark: Mark,
        now: Now,
        record: Record,
    ) -> bool {
        let mut slot = self.slot(number);
        if slot.ownership.owner() != Some(from) {
            return false;
        }
        let is_same = |copy: &Replica| copy.owner() == from && copy.generation() == mark.generation;
        if !slot.replica.as_ref().is_some_and(is_same) {
            let earlier = slot.replica.take();
            slot.replica = Some(Replica::new(from.clone(), mark.generation, earlier));
        }
        if let Some(copy) = &mut slot.replica {
            copy.apply(record, now, self.clock().moment());
        }
        true
    }

    /// The successor of a slot has everything up to a mark.
    pub fn confirmed(&self, number: Slot, by: &RelayId, mark: Mark) {
        let mut slot = self.slot(number);
        let ready = slot.replication.confirm(by, mark);
        if slot.replication.is_complete() && !slot.keepers.is_empty() {
            let keepers = std::mem::take(&mut slot.keepers);
            for keeper in keepers.iter().filter(|keeper| *keeper != by) {
                self.peers().send(keeper, &Message::Settled(number));
            }
        }
        drop(slot);
        for waiter in ready {
            waiter.finish(Ack::Replicated);
        }
    }

    /// The successor does not believe that this node owns the slot: its view is older, or ours.
    pub fn refused(&self, number: Slot, by: &RelayId, mark: Mark) {
        let mut slot = self.slot(number);
        if slot.replication.successor() == Some(by)
            && slot.replication.generation() == mark.generation
        {
            slot.is_refused = true;
            self.0.custody.needs_tick();
        }
    }

    /// The slot is held by two other nodes: what is kept of it here may go, and those who waited
    /// for a second node have it.
    pub fn settled(&self, number: Slot, by: &RelayId) {
        let mut slot = self.slot(number);
        if slot.ownership.owner() == Some(by) && !slot.is_serving() {
            slot.replica = None;
            slot.finish_waiting(Ack::Replicated);
        }
    }
}
