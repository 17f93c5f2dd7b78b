//! Beginning to serve a slot: which channels go on, from what, and under which epoch.

use std::collections::BTreeSet;

use crate::channel::{Branch, Command, Resync};
use crate::idempotency::Idempotency;
use crate::name::{ChannelKey, RelayId};
use crate::position::Epoch;
use crate::time::{Now, Shift};

use super::super::message::{Ack, Message};
use super::super::replication::{Record, Replica};
use super::super::takeover::{Estate, Inherited};
use super::{Custody, Effect, Effects, Entry, Kept, Running, Start};

impl<C, R, W> Custody<C, R, W> {
    /// Begins to serve with what was gathered.
    pub(super) fn serve(&mut self, now: Now, effects: &mut Effects<R, W>) {
        // Where channels run, another one had failed, and they know better than any copy.
        let is_fresh = self.channels.is_empty();
        let me = self.me.clone();
        let own = self.kept.take().map(Kept::into_estate);
        let copies = self.replica.take().iter().flat_map(Replica::estates).collect::<Vec<_>>();
        for estate in own.into_iter().chain(copies) {
            self.takeover.add(&me, estate);
        }
        let (channels, idempotency) = std::mem::take(&mut self.takeover).into_parts();
        self.idempotency.absorb(idempotency, Shift::default());
        for (key, inherited) in channels {
            if is_fresh || self.channels.contains_key(&key) || !inherited.resyncs.is_empty() {
                self.adopt(key, inherited, now, effects);
            }
        }
        self.drop_failed(effects);
        for keeper in &self.keepers {
            effects.push(Effect::Send(keeper.clone(), Message::Taken(self.slot)));
        }
        let view = self.ownership.present_view();
        let successor = view.and_then(|view| view.successor(self.slot).cloned());
        self.aim(successor, now, effects);
        // What they wait for may have stayed on another node's way.
        let leaving = std::mem::take(&mut self.leaving).into_iter();
        effects.extend(leaving.map(|waiter| Effect::Finish(waiter, Ack::Accepted)));
        effects.extend(std::mem::take(&mut self.held).into_iter().map(Effect::Handle));
    }

    /// Of a channel that failed, and of which nobody knows anything, nothing is left.
    fn drop_failed(&mut self, effects: &mut Effects<R, W>) {
        self.channels.retain(|key, entry| {
            let is_failed = matches!(entry.channel, Running::Failed);
            if is_failed {
                effects.push(Effect::Drop(key.clone()));
            }
            !is_failed
        });
    }

    /// A relay has spoken of a channel of a slot that is served.
    pub(super) fn adopt_resync(
        &mut self,
        key: ChannelKey,
        resync: Resync,
        now: Now,
        effects: &mut Effects<R, W>,
    ) {
        let inherited = Inherited { resyncs: vec![resync], ..Inherited::default() };
        self.adopt(key, inherited, now, effects);
    }

    /// Goes on with a channel that another node had, or of which only relays know.
    fn adopt(
        &mut self,
        key: ChannelKey,
        inherited: Inherited,
        now: Now,
        effects: &mut Effects<R, W>,
    ) {
        let Inherited { channel, from, others, resyncs } = inherited;
        let known = self.channels.get(&key);
        if known.is_some_and(|entry| !matches!(entry.channel, Running::Failed)) {
            return effects.push(Effect::Command(key, Command::Resync(resyncs)));
        }
        let reunite = others.into_iter().map(|other| Command::Reunite(other.into_branch()));
        let is_empty = |resync: &Resync| resync.joined.is_empty() && resync.joining.is_empty();
        if channel.is_none() && resyncs.iter().all(is_empty) {
            return;
        }
        let is_restart = known.is_some();
        // One that has not said that it gave everything may have gone on with it.
        let is_handed_over =
            from.is_some_and(|from| from == self.me || self.ownership.has_heard(&from));
        let mut machine = channel;
        let epochs = [known.map(|entry| entry.epoch), machine.as_ref().map(|m| m.position().epoch)];
        let told = resyncs.iter().map(|resync| resync.last.epoch);
        let last = told.chain(epochs.into_iter().flatten()).max();
        let epoch = match &mut machine {
            Some(machine) if is_handed_over => machine.position().epoch,
            Some(machine) => {
                let epoch = self.next_epoch(last, now);
                machine.take_over(epoch);
                epoch
            }
            None => self.next_epoch(last, now),
        };
        // One that has spoken can be gone by now, too.
        let spoken = resyncs.iter().map(|resync| &resync.relay);
        let relays = spoken.chain(machine.iter().flat_map(|machine| machine.relays()));
        let gone: BTreeSet<RelayId> =
            relays.filter(|relay| !self.is_in_view(relay)).cloned().collect();
        // Relays say what they have before those that are gone are missed.
        let mut first = vec![Command::Resync(resyncs)];
        first.extend(gone.into_iter().map(|relay| Command::RelayLost { relay }));
        first.extend(reunite);
        let start = Start { key, machine, epoch, first, is_restart, is_handed_over };
        self.start(start, effects);
    }

    fn start(&mut self, start: Start, effects: &mut Effects<R, W>) {
        let entry = Entry { epoch: start.epoch, channel: Running::Starting, seeded: 0 };
        self.channels.insert(start.key.clone(), entry);
        effects.push(Effect::Start(Box::new(start)));
    }

    /// What another node served of a slot that this node serves too, since they had lost each other.
    /// This node's own state goes on; of a channel that only the other had, its state does, and its
    /// answers to keyed publishes with it. What the others' answers stand for was not published here.
    pub(super) fn reunite(&mut self, estate: Estate, now: Now, effects: &mut Effects<R, W>) {
        let Estate { is_primary, channels, idempotency } = estate;
        self.absorb_answers(idempotency, now, effects);
        for (key, mut machine) in channels {
            if self.channels.contains_key(&key) {
                if is_primary {
                    let reunite = Command::Reunite(machine.into_branch());
                    effects.push(Effect::Command(key, reunite));
                }
                continue;
            }
            let reunite = Command::Reunite(Branch::default());
            let epoch = self.next_epoch(Some(machine.position().epoch), now);
            machine.take_over(epoch);
            // What this side has told the application may differ.
            let (first, machine) = (vec![reunite], Some(machine));
            let (is_restart, is_handed_over) = (false, false);
            let start = Start { key, machine, epoch, first, is_restart, is_handed_over };
            self.start(start, effects);
        }
    }

    fn absorb_answers(&mut self, mut theirs: Idempotency, now: Now, effects: &mut Effects<R, W>) {
        theirs.retain_answers(|item, _| !self.channels.contains_key(&item.channel));
        if !theirs.is_empty() {
            self.idempotency.absorb(theirs, Shift::default());
            self.send_record(Record::Remembered(self.idempotency.clone()), now, effects);
        }
    }

    /// The epoch of a channel that begins here, or goes on without having been handed over.
    #[must_use]
    pub fn next_epoch(&self, last: Option<Epoch>, now: Now) -> Epoch {
        Epoch::after(last, now.unix_ms, self.me.incarnation)
    }

    /// A channel runs, after [`Effect::Start`] or [`Dispatch::Begin`](super::Dispatch::Begin).
    pub fn started(&mut self, key: ChannelKey, epoch: Epoch, channel: C) {
        let channel = Running::Yes(channel);
        self.channels.insert(key, Entry { epoch, channel, seeded: 0 });
    }

    /// A channel has failed, or could not be started.
    pub fn failed(&mut self, key: &ChannelKey) {
        if let Some(entry) = self.channels.get_mut(key) {
            entry.channel = Running::Failed;
        }
    }

    /// Asks for everything that is known of the channels again: one of them has failed.
    pub fn retake(&mut self, now: Now, effects: &mut Effects<R, W>) {
        self.own(super::Input::Retake, now, effects);
    }

    /// A running channel.
    pub fn channel(&mut self, key: &ChannelKey) -> Option<&mut C> {
        match &mut self.channels.get_mut(key)?.channel {
            Running::Yes(channel) => Some(channel),
            Running::Starting | Running::Failed => None,
        }
    }

    /// The running channels.
    pub fn running(&self) -> impl Iterator<Item = (&ChannelKey, &C)> {
        self.channels.iter().filter_map(|(key, entry)| match &entry.channel {
            Running::Yes(channel) => Some((key, channel)),
            Running::Starting | Running::Failed => None,
        })
    }
}
