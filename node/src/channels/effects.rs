//! What the machines of slots want done is carried out here, in its order and while the slot is
//! locked. What takes longer is gathered in a [`Batch`] over several slots.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use proto::channel::Channel;
use proto::cluster::custody::{Effect, Start};
use proto::cluster::message::{Answer, Message};
use proto::cluster::replication::Mark;
use proto::cluster::slot::Slot;
use proto::quota::Demand;
use proto::{Now, RelayId};

use super::slot::{Effects, SlotState};
use super::{Channels, Custody};

/// What is left to do when the slots are not locked any more: [`Channels::finish`].
#[derive(Debug, Default)]
pub struct Batch {
    /// Claims to answer, by claimant.
    pub(super) claims: HashMap<RelayId, Vec<Claim>>,
    /// The last record of each slot that this node has taken in: it stands for those before.
    confirmed: HashMap<RelayId, BTreeMap<Slot, Mark>>,
}

/// A claim of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) slot: Slot,
    pub(super) turn: u64,
    /// Whether the slot is served here.
    pub(super) is_serving: bool,
}

impl Channels {
    /// Does something with one slot, and all that follows from it.
    pub(super) fn with<T>(
        &self,
        number: Slot,
        batch: &mut Batch,
        act: impl FnOnce(&mut Custody, Now, &mut Effects) -> T,
    ) -> T {
        let mut slot = self.slot(number);
        let was_serving = slot.custody.is_serving();
        let mut effects = Vec::new();
        let result = act(&mut slot.custody, self.clock().now(), &mut effects);
        if slot.custody.is_serving() && !was_serving {
            self.0.moves.taken.fetch_add(1, Ordering::Relaxed);
        }
        self.carry_out((&mut slot, number), effects, batch);
        result
    }

    /// As [`Channels::with`], for something that stands alone.
    pub(super) fn with_one<T>(
        &self,
        number: Slot,
        act: impl FnOnce(&mut Custody, Now, &mut Effects) -> T,
    ) -> T {
        let mut batch = Batch::default();
        let result = self.with(number, &mut batch, act);
        self.finish(batch);
        result
    }

    /// As [`Channels::with`], for every slot.
    pub(super) fn with_all(&self, mut act: impl FnMut(&mut Custody, Now, &mut Effects)) {
        let mut batch = Batch::default();
        for number in Slot::all() {
            self.with(number, &mut batch, &mut act);
        }
        self.finish(batch);
    }

    pub(super) fn carry_out(
        &self,
        (slot, number): (&mut SlotState, Slot),
        effects: Effects,
        batch: &mut Batch,
    ) {
        for effect in effects {
            match effect {
                Effect::Send(to, Message::Replicated(slot, mark)) => {
                    batch.confirmed.entry(to).or_default().insert(slot, mark);
                }
                Effect::Send(to, message) => self.peers().send(&to, &message),
                Effect::Gather { to, turn, is_serving } => {
                    self.0.moves.ceded.fetch_add(u64::from(is_serving), Ordering::Relaxed);
                    let claim = Claim { slot: number, turn, is_serving };
                    batch.claims.entry(to).or_default().push(claim);
                }
                Effect::Start(start) => self.go_on(slot, *start),
                Effect::Command(key, command) => {
                    if let Some(mailbox) = slot.custody.channel(&key) {
                        mailbox.send(command, None, None);
                    }
                }
                Effect::Seed(key) => {
                    if let Some(mailbox) = slot.custody.channel(&key) {
                        mailbox.cast(crate::channel::Message::Seed);
                    }
                }
                Effect::Drop(key) => self.0.parts.quotas.release(&key.app, Demand::Channel),
                Effect::Handle(request) => self.dispatch(slot, request, batch),
                Effect::Return(request) => request.replier.answer(Answer::NotOwner),
                Effect::Finish(waiter, reached) => waiter.finish(reached, self.webhooks()),
            }
        }
        if slot.custody.needs_tick() {
            self.0.needs_tick.store(true, Ordering::Relaxed);
        }
    }

    /// Does what is left.
    pub fn finish(&self, batch: Batch) {
        for (to, marks) in batch.confirmed {
            self.peers().send(&to, &Message::Confirmed(marks.into_iter().collect()));
        }
        for (to, claims) in batch.claims {
            let channels = self.clone();
            tokio::spawn(async move { channels.answer_claims(to, claims).await });
        }
    }

    /// A channel that another node had, or of which relays alone know, goes on here.
    fn go_on(&self, slot: &mut SlotState, start: Start) {
        let Start { key, machine, epoch, first, is_restart, is_handed_over } = start;
        let machine = machine.unwrap_or_else(|| {
            Channel::forgotten(key.channel.clone(), epoch, self.settings(&key.app))
        });
        if !is_handed_over {
            let (app, channel, offset) = (&key.app, &key.channel, machine.position().offset.0);
            tracing::info!(%app, ?channel, %epoch, offset, "a channel goes on under a new epoch");
        }
        for edge in machine.untold() {
            self.webhooks().push(&key.app, &edge);
        }
        if !is_restart {
            self.0.parts.quotas.inherit_channel(&key.app);
        }
        self.spawn(slot, key, machine, first);
    }
}
