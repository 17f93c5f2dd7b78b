//! Slots of a life: what `node/src/channels` does with the same machine.

use std::collections::BTreeMap;

use proto::channel::{Channel, Delivery};
use proto::cluster::custody::{Custody, Effect};
use proto::cluster::message::{Answer, Message};
use proto::cluster::replication::Mark;
use proto::cluster::slot::Slot;
use proto::{ChannelKey, Now, RelayId, SocketId};

use super::node::{Effects, Handle, Mail, Request, SHARDS, Task, ToShard, Waiter};
use super::world::{Event, Mutation, World};

type Slots = Custody<Handle, Request, Waiter>;

/// What is left to do over several slots.
#[derive(Debug, Default)]
pub(super) struct Batch {
    claims: BTreeMap<RelayId, Vec<(Slot, u64, bool)>>,
    confirmed: BTreeMap<RelayId, BTreeMap<Slot, Mark>>,
}

impl World {
    pub(super) fn with<T>(
        &mut self,
        node: usize,
        slot: Slot,
        batch: &mut Batch,
        act: impl FnOnce(&mut Slots, Now, &mut Effects) -> T,
    ) -> T {
        let (now, mut effects) = (self.now_of(node), Vec::new());
        let custody = self.life(node).custody.get_mut(&slot).expect("a slot in use");
        let result = act(custody, now, &mut effects);
        self.carry_out(node, slot, effects, batch);
        result
    }

    pub(super) fn with_all(
        &mut self,
        node: usize,
        mut act: impl FnMut(&mut Slots, Now, &mut Effects),
    ) {
        let mut batch = Batch::default();
        for slot in self.slots() {
            self.with(node, slot, &mut batch, &mut act);
        }
        self.finish(node, batch);
    }

    /// Takes in what another node says about a slot.
    pub(super) fn hear(
        &mut self,
        node: usize,
        from: &RelayId,
        (slot, message): (Slot, Message),
        batch: &mut Batch,
    ) {
        self.with(node, slot, batch, |custody, now, effects| {
            custody.receive(from, message, now, effects);
        });
    }

    pub(super) fn carry_out(
        &mut self,
        node: usize,
        slot: Slot,
        effects: Effects,
        batch: &mut Batch,
    ) {
        for effect in effects {
            match effect {
                Effect::Send(to, message) => self.say(node, &to, message, batch),
                Effect::Gather { to, turn, is_serving } => {
                    batch.claims.entry(to).or_default().push((slot, turn, is_serving));
                }
                Effect::Start(start) => self.go_on(node, *start),
                Effect::Command(key, command) => {
                    self.mail(node, &key, Mail::Command(command, None, None));
                }
                Effect::Seed(key) => self.mail(node, &key, Mail::Seed),
                Effect::Drop(_) => {}
                Effect::Handle(request) => self.dispatch(node, request, batch),
                Effect::Return(request) => self.reply(node, request.replier, Answer::NotOwner),
                Effect::Finish(waiter, reached) => self.finish_waiter(node, waiter, reached),
            }
        }
    }

    fn say(&mut self, node: usize, to: &RelayId, message: Message, batch: &mut Batch) {
        match (message, self.mutation) {
            (Message::Replicate(slot, mark, ..), Some(Mutation::SkipReplica)) => {
                self.with(node, slot, batch, |custody, now, effects| {
                    custody.receive(to, Message::Replicated(slot, mark), now, effects);
                });
            }
            (Message::Published(mark, key, publication), Some(Mutation::SkipReplica)) => {
                let slot = Slot::of(&key);
                self.with(node, slot, batch, |custody, now, effects| {
                    custody.receive(to, Message::Replicated(slot, mark), now, effects);
                });
                self.send(node, to, &Message::Deliver(key, Delivery::Published(publication)));
            }
            (Message::Replicated(slot, mark), _) => {
                batch.confirmed.entry(to.clone()).or_default().insert(slot, mark);
            }
            (message, _) => self.send(node, to, &message),
        }
    }

    pub(super) fn finish(&mut self, node: usize, batch: Batch) {
        for (to, marks) in batch.confirmed {
            self.send(node, &to, &Message::Confirmed(marks.into_iter().collect()));
        }
        for (to, claims) in batch.claims {
            let (stopping, shards_left) = (BTreeMap::new(), 0);
            let (current, stale) = (Vec::new(), Vec::new());
            let task = Task { to, claims, stopping, current, stale, shards_left };
            let number = self.life(node).number();
            self.life(node).tasks.insert(number, task);
            self.soon(node, Event::Task(number));
        }
    }

    /// The first step of answering claims: channels that are served here are stopped.
    pub(super) fn step_task(&mut self, node: usize, number: u64) {
        let Some(task) = self.life(node).tasks.get(&number) else { return };
        let served: Vec<Slot> =
            task.claims.iter().filter(|claim| claim.2).map(|claim| claim.0).collect();
        let mut stopping: BTreeMap<Slot, (usize, Vec<_>)> = BTreeMap::new();
        for slot in served {
            let custody = self.life(node).custody.get_mut(&slot).expect("a slot in use");
            let stopped = custody.stop();
            let running = stopped.iter().filter(|(_, handle)| handle.is_some()).count();
            stopping.insert(slot, (running, Vec::new()));
            for (_, handle) in stopped {
                let Some(handle) = handle else { continue };
                self.put(node, handle.actor, Mail::Hand(number));
            }
        }
        if let Some(task) = self.life(node).tasks.get_mut(&number) {
            task.stopping = stopping;
        }
        self.gather_if_stopped(node, number);
    }

    /// A channel has ended in this state.
    pub(super) fn handed(&mut self, node: usize, number: u64, key: ChannelKey, machine: Channel) {
        let slot = Slot::of(&key);
        if let Some(task) = self.life(node).tasks.get_mut(&number)
            && let Some((running, channels)) = task.stopping.get_mut(&slot)
        {
            *running -= 1;
            channels.push((key, machine));
        }
        self.gather_if_stopped(node, number);
    }

    /// The second step: the relay listens to the claimant alone, and says what it has.
    pub(super) fn gather_if_stopped(&mut self, node: usize, number: u64) {
        let life = self.life(node);
        let Some(task) = life.tasks.get_mut(&number) else { return };
        if task.shards_left > 0 || task.stopping.values().any(|(running, _)| *running > 0) {
            return;
        }
        for (slot, (_, channels)) in std::mem::take(&mut task.stopping) {
            let is_answered_here = |waiter: &Waiter| matches!(waiter, Waiter::Publish { .. });
            let custody = life.custody.get_mut(&slot).expect("a slot in use");
            custody.stopped(channels, is_answered_here);
        }
        let to = task.to.clone();
        for &(slot, turn, _) in &task.claims {
            if life.custody[&slot].may_gather(&to, turn) {
                life.owners.insert(slot, to.incarnation);
                task.current.push((slot, turn));
            } else {
                task.stale.push((slot, turn));
            }
        }
        task.shards_left = SHARDS;
        let slots: Vec<Slot> = task.current.iter().map(|claim| claim.0).collect();
        for shard in 0..SHARDS as usize {
            self.put_to_shard(node, shard, ToShard::Gather(slots.clone(), to.clone(), number));
        }
    }

    /// The last step: the claimant gets what is held here.
    pub(super) fn shard_gathered(&mut self, node: usize, number: u64) {
        let life = self.life(node);
        let Some(task) = life.tasks.get_mut(&number) else { return };
        task.shards_left -= 1;
        if task.shards_left > 0 {
            return;
        }
        let Some(Task { to, current, stale, .. }) = life.tasks.remove(&number) else { return };
        let mut batch = Batch::default();
        for (slot, turn) in current {
            self.with(node, slot, &mut batch, |custody, now, effects| {
                custody.answer(&to, turn, now, effects);
            });
        }
        for (slot, turn) in stale {
            self.with(node, slot, &mut batch, |custody, now, effects| {
                custody.decline(&to, turn, now, effects);
            });
        }
        self.finish(node, batch);
    }

    /// A session closes its connection.
    pub(super) fn close(&mut self, socket: SocketId) {
        if let Some(client) = self.client_of(socket) {
            self.hang_up(client);
        }
    }

    /// The channel at its owner, when all is quiet.
    pub(super) fn owner_of(&self, key: &ChannelKey) -> Option<&Channel> {
        let lives = self.places.iter().filter_map(|place| place.life.as_ref());
        let mut serving = lives.filter(|life| life.custody[&Slot::of(key)].is_serving());
        let life = serving.next()?;
        life.actors.values().find(|actor| actor.key == *key).map(|actor| &actor.machine)
    }
}
