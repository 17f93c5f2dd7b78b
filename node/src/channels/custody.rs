//! How slots change hands on this node: the effects of [`Ownership`], carried out.
//!
//! [`Ownership`]: proto::cluster::ownership::Ownership

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proto::channel::{Channel, Command, Resync};
use proto::cluster::message::Message;
use proto::cluster::ownership::{Effect, Input, Phase as Hold};
use proto::cluster::slot::Slot;
use proto::cluster::takeover::{Estate, Inherited};
use proto::cluster::view::View;
use proto::quota::Demand;
use proto::{ChannelKey, Moment, RelayId};

use super::Channels;
use super::slot::{Phase, SlotState};

/// What the table remembers of changing hands.
#[derive(Debug, Default)]
pub(super) struct Custody {
    /// Whether anything waits for time to pass.
    needs_tick: AtomicBool,
    /// Slots taken over and given away since the start.
    taken: AtomicU64,
    ceded: AtomicU64,
}

impl Custody {
    pub(super) fn count_ceded(&self) {
        self.ceded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn needs_tick(&self) {
        self.needs_tick.store(true, Ordering::Relaxed);
    }
}

/// What claimants want, gathered over many slots.
#[derive(Debug, Default)]
pub(super) struct Gatherings(pub(super) HashMap<RelayId, Vec<(Slot, bool)>>);

impl Channels {
    /// Takes a new view over. `gone` are members that are in it no longer.
    pub fn set_view(&self, view: &View, gone: &[RelayId]) {
        let me = self.me().clone();
        self.0.is_replicating.store(view.peers(&me).next().is_some(), Ordering::Relaxed);
        let mut gatherings = Gatherings::default();
        for number in Slot::all() {
            let mut slot = self.slot(number);
            self.apply(&mut slot, (number, Input::View(view)), &mut gatherings);
            let is_mine = view.owner(number) == &me;
            if !slot.is_serving() || !is_mine {
                continue;
            }
            for relay in gone {
                for entry in slot.channels.values_mut() {
                    let command = Command::RelayLost { relay: relay.clone() };
                    entry.send(command, None, None, None);
                }
            }
            let successor = view.successor(number).cloned();
            if slot.replication.successor() != successor.as_ref() {
                self.aim(&mut slot, number, successor);
            }
        }
        self.gather(gatherings);
    }

    /// A node says that it owns a slot.
    pub fn claimed(&self, slots: &[Slot], by: &RelayId) {
        let mut gatherings = Gatherings::default();
        for &number in slots {
            let mut slot = self.slot(number);
            self.apply(&mut slot, (number, Input::Claimed(by.clone())), &mut gatherings);
        }
        self.gather(gatherings);
    }

    /// A node takes back a claim that was not answered.
    pub fn withdrawn(&self, number: Slot, by: &RelayId) {
        let mut gatherings = Gatherings::default();
        self.apply(&mut self.slot(number), (number, Input::Withdrawn(by)), &mut gatherings);
        self.gather(gatherings);
    }

    /// A member has sent something that it holds of a slot.
    pub fn inherit(&self, number: Slot, from: &RelayId, at: Moment, estate: Estate) {
        let mut slot = self.slot(number);
        if !slot.keepers.contains(from) {
            slot.keepers.push(from.clone());
        }
        let now = self.clock().moment();
        if slot.is_serving() {
            self.merge(&mut slot, estate);
        } else if matches!(slot.ownership.phase(), Hold::Taking { .. }) {
            slot.takeover.add(estate, at, now);
        }
    }

    /// What another node served of a slot that this node serves too, since they had lost each other.
    /// This node's own state goes on; of a channel that only the other had, its state does.
    fn merge(&self, slot: &mut SlotState, estate: Estate) {
        for (key, mut machine) in estate.channels {
            if let Some(entry) = slot.channels.get_mut(&key) {
                if estate.is_primary {
                    entry.send(Command::Announce, None, None, None);
                }
                continue;
            }
            machine.take_over(self.next_epoch(Some(machine.position().epoch)));
            // What this side has told the application may differ.
            let first = vec![Command::Announce];
            self.0.parts.quotas.inherit_channel(&key.app);
            let entry = self.start(&key, machine, first);
            slot.channels.insert(key, entry);
        }
    }

    /// A member has said all it has of slots.
    pub fn yielded(&self, slots: &[Slot], by: &RelayId) {
        let mut gatherings = Gatherings::default();
        for &number in slots {
            let mut slot = self.slot(number);
            self.apply(&mut slot, (number, Input::Yielded(by)), &mut gatherings);
        }
        self.gather(gatherings);
    }

    /// A relay says what it has of a channel.
    pub fn resync(&self, key: ChannelKey, resync: Resync) {
        let mut slot = self.slot(Slot::of(&key));
        if matches!(slot.ownership.phase(), Hold::Taking { .. }) {
            slot.takeover.add_resync(key, resync);
        } else if !slot.is_serving() {
            tracing::debug!(channel = ?key.channel, "a resync came after the slot had gone on");
        } else if let Some(entry) = slot.channels.get_mut(&key) {
            entry.send(Command::Resync(vec![resync]), None, None, None);
        } else {
            let inherited =
                Inherited { channel: None, is_handed_over: false, resyncs: vec![resync] };
            self.adopt(&mut slot, key, inherited, None);
        }
    }

    /// What was on its way to a node may be lost.
    pub fn reset(&self, peer: &RelayId) {
        self.repeat(&Input::Reset(peer), peer);
    }

    /// What was on its way from a node may be lost. To be called before what comes after the loss.
    pub fn restarted(&self, peer: &RelayId) {
        self.repeat(&Input::Restarted(peer), peer);
    }

    /// Says and asks again what a peer may not have heard, or answered.
    fn repeat(&self, input: &Input<'_>, peer: &RelayId) {
        let mut gatherings = Gatherings::default();
        for number in Slot::all() {
            let mut slot = self.slot(number);
            self.apply(&mut slot, (number, input.clone()), &mut gatherings);
            if slot.is_serving() && slot.replication.successor() == Some(peer) {
                self.aim(&mut slot, number, Some(peer.clone()));
            }
        }
        self.gather(gatherings);
    }

    /// Does what waits for time to pass.
    pub fn tick(&self) {
        if !self.0.custody.needs_tick.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut gatherings = Gatherings::default();
        for number in Slot::all() {
            let mut slot = self.slot(number);
            self.apply(&mut slot, (number, Input::Tick), &mut gatherings);
            if matches!(slot.ownership.phase(), Hold::Taking { .. }) {
                self.0.custody.needs_tick();
            }
            if std::mem::take(&mut slot.is_refused) {
                let to = slot.replication.successor().cloned();
                self.aim(&mut slot, number, to);
            }
        }
        self.gather(gatherings);
    }

    /// Asks for everything that is known of a slot's channels again: one of them has failed.
    pub(super) fn retake(&self, number: Slot) {
        let mut gatherings = Gatherings::default();
        let mut slot = self.slot(number);
        self.apply(&mut slot, (number, Input::Retake), &mut gatherings);
        drop(slot);
        self.gather(gatherings);
    }

    /// Slots taken over and given away since the start.
    #[must_use]
    pub fn moves(&self) -> (u64, u64) {
        let Custody { taken, ceded, .. } = &self.0.custody;
        (taken.load(Ordering::Relaxed), ceded.load(Ordering::Relaxed))
    }

    pub(super) fn apply(
        &self,
        slot: &mut SlotState,
        (number, input): (Slot, Input<'_>),
        gatherings: &mut Gatherings,
    ) {
        let mut effects = Vec::new();
        slot.ownership.apply(input, self.clock().moment(), &mut effects);
        for effect in effects {
            match effect {
                Effect::Claim(to) if to == *self.me() => gatherings.add(to, number, false),
                Effect::Claim(to) => {
                    self.0.custody.needs_tick();
                    self.peers().send(&to, &Message::Claim(number));
                }
                Effect::Withdraw(to) => self.peers().send(&to, &Message::Withdraw(number)),
                Effect::Gather { to, is_serving } => gatherings.add(to, number, is_serving),
                Effect::Serve => self.serve(slot, number),
                Effect::Release => {
                    for request in std::mem::take(&mut slot.held) {
                        slot.admit(request);
                    }
                }
            }
        }
    }

    /// Begins to serve a slot with what was gathered.
    fn serve(&self, slot: &mut SlotState, number: Slot) {
        self.0.custody.taken.fetch_add(1, Ordering::Relaxed);
        let now = self.clock().moment();
        for estate in
            slot.replica.take().iter().flat_map(proto::cluster::replication::Replica::estates)
        {
            slot.takeover.add(estate, now, now);
        }
        let (channels, idempotency) = std::mem::take(&mut slot.takeover).into_parts();
        slot.idempotency.absorb(idempotency, proto::time::Shift::default());
        let view = self.peers().view();
        for (key, inherited) in channels {
            self.adopt(slot, key, inherited, view.as_deref());
        }
        // Of a channel that failed, and of which nobody knows anything, nothing is left.
        slot.channels.retain(|key, entry| {
            let is_down = matches!(entry.phase, Phase::Down);
            if is_down {
                self.0.parts.quotas.release(&key.app, Demand::Channel);
            }
            !is_down
        });
        let successor = view.as_ref().and_then(|view| view.successor(number).cloned());
        self.aim(slot, number, successor);
        for request in std::mem::take(&mut slot.held) {
            self.handle_in(slot, request);
        }
    }

    /// Goes on with a channel that another node had, or of which only relays know.
    fn adopt(
        &self,
        slot: &mut SlotState,
        key: ChannelKey,
        inherited: Inherited,
        view: Option<&View>,
    ) {
        let Inherited { channel, is_handed_over, resyncs } = inherited;
        let entry = slot.channels.get_mut(&key);
        if let Some(entry) = entry
            && matches!(entry.phase, Phase::Running { .. })
        {
            // The slot was taken again because another of its channels failed.
            return entry.send(Command::Resync(resyncs), None, None, None);
        }
        let known = slot.channels.get(&key).map(|entry| entry.epoch);
        let last = resyncs.iter().map(|resync| resync.last.epoch).chain(known).max();
        let machine = match channel {
            Some(machine) if is_handed_over => machine,
            Some(mut machine) => {
                let last = last.max(Some(machine.position().epoch));
                machine.take_over(self.next_epoch(last));
                machine
            }
            None if resyncs.iter().all(|r| r.joined.is_empty() && r.joining.is_empty()) => return,
            None => {
                let epoch = self.next_epoch(last);
                Channel::forgotten(key.channel.clone(), epoch, self.settings(&key.app))
            }
        };
        if !is_handed_over {
            let (app, channel, position) = (&key.app, &key.channel, machine.position());
            tracing::info!(%app, ?channel, epoch = %position.epoch, offset = position.offset.0,
                "a channel goes on under a new epoch");
        }
        let is_gone = |relay: &&RelayId| view.is_some_and(|view| !view.has(relay));
        let mut first: Vec<Command> = machine
            .relays()
            .filter(is_gone)
            .map(|relay| Command::RelayLost { relay: relay.clone() })
            .collect();
        // Relays say what they have before those that are gone are missed.
        first.insert(0, Command::Resync(resyncs));
        for edge in machine.untold() {
            self.webhooks().push(&key.app, &edge);
        }
        if known.is_none() {
            self.0.parts.quotas.inherit_channel(&key.app);
        }
        let entry = self.start(&key, machine, first);
        slot.channels.insert(key, entry);
    }
}

impl Gatherings {
    fn add(&mut self, to: RelayId, number: Slot, is_serving: bool) {
        self.0.entry(to).or_default().push((number, is_serving));
    }
}
