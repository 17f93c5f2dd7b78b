//! What a node keeps of a slot that it does not serve, and what of it the next owner gets.

use std::collections::BTreeMap;

use crate::channel::Channel;
use crate::idempotency::Idempotency;
use crate::name::{ChannelKey, RelayId};
use crate::time::{Moment, Now, Shift};

use super::super::message::{Ack, Message};
use super::super::ownership::Phase;
use super::super::takeover::Estate;
use super::{Custody, Effect, Effects};

/// Channels in one message of a handover.
const CHANNELS_PER_MESSAGE: usize = 16;

/// What a node itself served, or was handed and never served.
#[derive(Debug, Default)]
pub(super) struct Kept {
    channels: BTreeMap<ChannelKey, Channel>,
    idempotency: Idempotency,
    /// To whom it was handed; nobody yet: then this is the slot.
    next: Option<RelayId>,
}

impl Kept {
    pub(super) const fn is_primary(&self) -> bool {
        self.next.is_none()
    }

    pub(super) fn into_estate(self) -> Estate {
        let is_primary = self.is_primary();
        let Self { channels, idempotency, .. } = self;
        Estate { is_primary, channels: channels.into_iter().collect(), idempotency }
    }
}

impl<C, R, W> Custody<C, R, W> {
    /// Keeps what nobody serves any more until someone does.
    pub(super) fn keep_primary(&mut self, estate: Estate) {
        let mut kept = self.kept.take().filter(Kept::is_primary).unwrap_or_default();
        kept.idempotency.absorb(estate.idempotency, Shift::default());
        for (key, channel) in estate.channels {
            let known = kept.channels.get(&key);
            if known.is_none_or(|known| known.position() <= channel.position()) {
                kept.channels.insert(key, channel);
            }
        }
        self.kept = Some(kept);
    }

    /// A member has sent something that it holds of the slot.
    pub(super) fn inherit(
        &mut self,
        from: &RelayId,
        estate: Estate,
        now: Now,
        effects: &mut Effects<R, W>,
    ) {
        match self.phase() {
            Phase::Taking { .. } => {
                self.keepers.insert(from.clone());
                self.takeover.add(from, estate);
            }
            // A copy is of use once: what has ended since must not come back with it.
            Phase::Serving if estate.is_primary || !self.ownership.has_heard(from) => {
                self.keepers.insert(from.clone());
                self.reunite(estate, now, effects);
            }
            Phase::Elsewhere | Phase::Ceding { .. } if estate.is_primary => {
                self.keep_primary(estate);
            }
            Phase::Serving | Phase::Elsewhere | Phase::Ceding { .. } => {}
        }
    }

    /// Sends the next owner what is held here, as far as nobody else would.
    pub(super) fn bequeath(&mut self, to: &RelayId, now: Moment, effects: &mut Effects<R, W>) {
        let mut estates = Vec::new();
        let is_needed = |holder: &RelayId| holder == to || !self.is_in_view(holder);
        if let Some(copy) = self.replica.as_ref().filter(|copy| is_needed(copy.owner())) {
            estates.extend(copy.estates());
        }
        if let Some(kept) = &self.kept
            && kept.next.as_ref().is_none_or(is_needed)
        {
            let Kept { channels, idempotency, .. } = kept;
            let channels = channels.iter().map(|(key, channel)| (key.clone(), channel.clone()));
            estates.push(Estate {
                is_primary: kept.is_primary(),
                channels: channels.collect(),
                idempotency: idempotency.clone(),
            });
        }
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.is_primary()) {
            kept.next = Some(to.clone());
        }
        for estate in estates {
            self.send_estate(to, estate, now, effects);
        }
    }

    fn send_estate(&self, to: &RelayId, estate: Estate, now: Moment, effects: &mut Effects<R, W>) {
        let Estate { is_primary, channels, mut idempotency } = estate;
        let mut parts = channels.chunks(CHANNELS_PER_MESSAGE);
        let mut part = parts.next().unwrap_or_default();
        loop {
            let idempotency = std::mem::take(&mut idempotency);
            let estate = Estate { is_primary, channels: part.to_vec(), idempotency };
            let message = Message::Yield(self.slot, now, Box::new(estate));
            effects.push(Effect::Send(to.clone(), message));
            match parts.next() {
                Some(next) => part = next,
                None => return,
            }
        }
    }

    /// The next owner serves what was handed to it: with what is kept here, two nodes have it.
    pub(super) fn taken(&mut self, by: &RelayId, effects: &mut Effects<R, W>) {
        if self.ownership.owner() == Some(by) && self.kept.is_some() {
            let leaving = std::mem::take(&mut self.leaving).into_iter();
            effects.extend(leaving.map(|waiter| Effect::Finish(waiter, Ack::Replicated)));
        }
    }

    /// The slot is held by two other nodes, or there is no other: what is kept of it here may go.
    pub(super) fn settled(&mut self, by: &RelayId, effects: &mut Effects<R, W>) {
        if self.ownership.owner() == Some(by) && matches!(self.phase(), Phase::Elsewhere) {
            let view = self.ownership.present_view();
            let successor = view.and_then(|view| view.successor(self.slot));
            if successor != Some(&self.me) {
                self.replica = None;
            }
            self.kept = None;
            // The owner has not taken what it was given: it went on with something else.
            let lost = std::mem::take(&mut self.leaving).into_iter();
            effects.extend(lost.map(|waiter| Effect::Finish(waiter, Ack::Accepted)));
        }
    }

    /// Tells those who keep something of the slot that they need not, when that is so.
    pub(super) fn settle(&mut self, effects: &mut Effects<R, W>) {
        let successor = self.replication.successor();
        let is_settled = successor.is_none() || self.replication.is_complete();
        if !is_settled || self.keepers.is_empty() {
            return;
        }
        let keepers = std::mem::take(&mut self.keepers).into_iter();
        effects.extend(keepers.map(|keeper| Effect::Send(keeper, Message::Settled(self.slot))));
    }
}
