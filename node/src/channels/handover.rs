//! How slots change hands on this node. What is decided about it, [`Custody`] decides.
//!
//! [`Custody`]: proto::cluster::custody::Custody

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::ChannelKey;
use proto::RelayId;
use proto::channel::{Part, Resync};
use proto::cluster::message::Message;
use proto::cluster::slot::Slot;
use proto::cluster::view::View;
use proto::quota::Demand;
use tokio::sync::oneshot;

use super::effects::{Batch, Claim};
use super::{Channels, Waiter};

/// Slots taken over and given away since the start.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) taken: AtomicU64,
    pub(super) ceded: AtomicU64,
}

impl Channels {
    /// Takes a new view over. `gone` are members that are in it no longer.
    pub fn set_view(&self, view: &Arc<View>, gone: &[RelayId]) {
        let has_peers = view.peers(self.me()).next().is_some();
        self.0.is_replicating.store(has_peers, Ordering::Relaxed);
        self.with_all(|custody, now, effects| custody.see(view, gone, now, effects));
    }

    /// Takes in what another node says about a slot.
    pub fn receive(&self, from: &RelayId, slot: Slot, message: Message, batch: &mut Batch) {
        self.with(slot, batch, |custody, now, effects| {
            custody.receive(from, message, now, effects);
        });
    }

    /// This node's relay says what it has of a channel, to a claimant that is this node.
    pub fn resync(&self, key: ChannelKey, resync: Resync) {
        self.with_one(Slot::of(&key), |custody, now, effects| {
            custody.resync(key, resync, now, effects);
        });
    }

    /// A part of a relay has spoken of all channels of these slots in which it has somebody.
    pub fn listed(&self, slots: &[Slot], from: &RelayId, part: Part) {
        for &number in slots {
            self.with_one(number, |custody, _, effects| custody.listed(from, part, effects));
        }
    }

    /// What was on its way to a node may be lost.
    pub fn reset(&self, peer: &RelayId) {
        self.with_all(|custody, now, effects| custody.reset(peer, now, effects));
    }

    /// What was on its way from a node may be lost. To be called before what comes after the loss.
    pub fn restarted(&self, peer: &RelayId) {
        self.with_all(|custody, now, effects| custody.restarted(peer, now, effects));
    }

    /// More than half of the nodes have heard this one a moment ago, or have not any more.
    pub fn set_lease(&self, has_lease: bool) {
        self.with_all(|custody, now, effects| custody.lease(has_lease, now, effects));
    }

    /// Does what waits for time to pass.
    pub fn tick(&self) {
        if self.0.needs_tick.swap(false, Ordering::Relaxed) {
            self.with_all(|custody, now, effects| custody.tick(now, effects));
        }
    }

    /// Asks for everything that is known of a slot's channels again: one of them has failed.
    pub(super) fn retake(&self, number: Slot) {
        self.with_one(number, |custody, now, effects| custody.retake(now, effects));
    }

    /// Says to a claimant all that is here of slots.
    pub(super) async fn answer_claims(&self, to: RelayId, claims: Vec<Claim>) {
        for claim in claims.iter().filter(|claim| claim.is_serving) {
            self.stop(claim.slot).await;
        }
        let (current, stale): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| self.listen_to(&to, claim));
        let slots: Arc<[Slot]> = current.iter().map(|claim| claim.slot).collect();
        self.relay().gather(slots, &to).await;
        let served = current.iter().filter(|claim| claim.is_serving).count();
        tracing::info!(to = %to.node, slots = current.len(), served, stale = stale.len(), "slots were yielded");
        let mut batch = Batch::default();
        for Claim { slot, turn, .. } in current {
            self.with(slot, &mut batch, |custody, now, effects| {
                custody.answer(&to, turn, now, effects);
            });
        }
        for Claim { slot, turn, .. } in stale {
            self.with(slot, &mut batch, |custody, now, effects| {
                custody.decline(&to, turn, now, effects);
            });
        }
        self.finish(batch);
    }

    /// Makes the claimant the one owner that the relay listens to, if the claim is still to be
    /// answered.
    fn listen_to(&self, to: &RelayId, claim: &Claim) -> bool {
        let slot = self.slot(claim.slot);
        let is_current = slot.custody.may_gather(to, claim.turn);
        if is_current {
            self.relay().register(claim.slot, to);
        }
        is_current
    }

    /// Stops the channels of a slot and keeps their states for their next owner.
    async fn stop(&self, number: Slot) {
        let mut asked = Vec::new();
        for (key, mailbox) in self.slot(number).custody.stop() {
            let (reply, machine) = oneshot::channel();
            if let Some(mut mailbox) = mailbox {
                mailbox.cast(crate::channel::Message::Hand(reply));
            }
            asked.push((key, machine));
        }
        let mut channels = Vec::with_capacity(asked.len());
        for (key, machine) in asked {
            self.0.parts.quotas.release(&key.app, Demand::Channel);
            // One that has failed, or ended in the meantime, has nothing to give.
            if let Ok(machine) = machine.await {
                channels.push((key, *machine));
            }
        }
        // What the application is to be told goes along with the channel: told from here as well it
        // could come after what the next owner says.
        let is_answered_here = |waiter: &Waiter| matches!(waiter, Waiter::Publish { .. });
        self.slot(number).custody.stopped(channels, is_answered_here);
    }
}
