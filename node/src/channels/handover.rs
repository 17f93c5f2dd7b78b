//! Answering a claim: the channels that were served here are stopped and sent, the relay says what it
//! has, and copies of what nodes had that are gone follow.

use proto::channel::Channel;
use proto::cluster::message::Message;
use proto::cluster::ownership::Input;
use proto::cluster::slot::Slot;
use proto::cluster::takeover::Estate;
use proto::idempotency::Idempotency;
use proto::quota::Demand;
use proto::{ChannelKey, RelayId};
use tokio::sync::oneshot;

use super::Channels;
use super::custody::Gatherings;

/// Channels in one message of a handover.
const CHANNELS_PER_MESSAGE: usize = 16;

impl Channels {
    pub(super) fn gather(&self, gatherings: Gatherings) {
        for (to, slots) in gatherings.0 {
            let channels = self.clone();
            tokio::spawn(async move { channels.gather_for(to, slots).await });
        }
    }

    /// Says to a claimant all that is here of slots: first what was served, then what the relay
    /// has, then copies of what nodes had that are gone.
    async fn gather_for(&self, to: RelayId, slots: Vec<(Slot, bool)>) {
        for &(number, _) in slots.iter().filter(|(_, is_serving)| *is_serving) {
            self.hand_over(number, &to).await;
        }
        let (current, stale): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|(number, _)| self.register(*number, &to));
        let numbers: Vec<Slot> = current.iter().map(|(number, _)| *number).collect();
        self.relay().gather(numbers.as_slice().into(), &to).await;
        let served = current.iter().filter(|(_, is_serving)| *is_serving).count();
        tracing::info!(to = %to.node, slots = current.len(), served, stale = stale.len(), "slots were yielded");
        let is_mine = to == *self.me();
        for (number, is_serving) in current {
            if !is_mine {
                if !is_serving {
                    self.send_copy(number, &to);
                }
                self.peers().send(&to, &Message::Yielded(number));
            }
            self.gathered(number, &Input::Gathered(&to));
        }
        for (number, _) in stale {
            self.gathered(number, &Input::Unanswered(&to));
        }
        if is_mine {
            self.yielded(&numbers, &to);
        }
    }

    /// Makes the claimant the one owner that the relay listens to, unless the view has changed while
    /// the answer was being gathered.
    fn register(&self, number: Slot, to: &RelayId) -> bool {
        let slot = self.slot(number);
        let is_current = slot.ownership.owner() == Some(to);
        if is_current {
            self.relay().register(number, to);
        }
        is_current
    }

    /// The answer is complete. A claim that came too early, or too late, is kept for another view.
    fn gathered(&self, number: Slot, outcome: &Input<'_>) {
        let mut gatherings = Gatherings::default();
        self.apply(&mut self.slot(number), (number, outcome.clone()), &mut gatherings);
        self.gather(gatherings);
    }

    /// Stops the channels of a slot and sends them to their next owner. A copy is kept here until
    /// that owner has a successor of its own.
    async fn hand_over(&self, number: Slot, to: &RelayId) {
        self.0.custody.count_ceded();
        let mut asked = Vec::new();
        for (key, mut entry) in self.slot(number).channels.drain() {
            let (reply, machine) = oneshot::channel();
            entry.cast(crate::channel::Message::Hand(reply));
            asked.push((key, machine));
        }
        let mut channels = Vec::with_capacity(asked.len());
        for (key, machine) in asked {
            self.0.parts.quotas.release(&key.app, Demand::Channel);
            // One that ended in the meantime retained nothing.
            if let Ok(machine) = machine.await {
                channels.push((key, *machine));
            }
        }
        let mut slot = self.slot(number);
        let idempotency = slot.idempotency.clone();
        self.send_estate((number, to), true, &channels, idempotency);
        slot.keep(channels, to);
    }

    fn send_copy(&self, number: Slot, to: &RelayId) {
        let slot = self.slot(number);
        let view = self.peers().view();
        let is_needed =
            |owner: &RelayId| owner == to || view.as_ref().is_none_or(|view| !view.has(owner));
        if let Some(copy) = slot.replica.as_ref().filter(|copy| is_needed(copy.owner())) {
            for estate in copy.estates() {
                self.send_estate((number, to), false, &estate.channels, estate.idempotency);
            }
        }
    }

    fn send_estate(
        &self,
        (number, to): (Slot, &RelayId),
        is_primary: bool,
        channels: &[(ChannelKey, Channel)],
        mut idempotency: Idempotency,
    ) {
        let mut parts = channels.chunks(CHANNELS_PER_MESSAGE);
        let mut part = parts.next().unwrap_or_default();
        loop {
            let idempotency = std::mem::take(&mut idempotency);
            let estate = Estate { is_primary, channels: part.to_vec(), idempotency };
            let message = Message::Yield(number, self.clock().moment(), Box::new(estate));
            self.peers().send(to, &message);
            match parts.next() {
                Some(next) => part = next,
                None => return,
            }
        }
    }
}
