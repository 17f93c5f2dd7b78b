//! Slots, channels and relay shards of a life: what `node/src/channels`, `node/src/channel.rs` and
//! `node/src/relay` do with the same machines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proto::channel::{
    Channel, Command, Delivery, Effect as Wanted, Joined, Part, Published, Recovery, Reply, Resync,
    Role,
};
use proto::cluster::custody::{Change, Custody, Dispatch, Effect, Start};
use proto::cluster::message::{Ack, Answer, Ask, Message};
use proto::cluster::replication::Mark;
use proto::cluster::slot::Slot;
use proto::http::webhook::Edge;
use proto::idempotency::{ItemKey, RetryKey};
use proto::relay::{Changes, Verdict};
use proto::{ChannelKey, Now, RelayId, SocketId};

use super::checker::mark_of;
use super::client::DEADLINE;
use super::node::{
    Actor, Asking, Effects, Handle, Life, Mail, Replier, Request, SHARDS, Task, Then, ToShard,
    Waiter,
};
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

    fn carry_out(&mut self, node: usize, slot: Slot, effects: Effects, batch: &mut Batch) {
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
    fn handed(&mut self, node: usize, number: u64, key: ChannelKey, machine: Channel) {
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
    fn gather_if_stopped(&mut self, node: usize, number: u64) {
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
    fn shard_gathered(&mut self, node: usize, number: u64) {
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

    pub(super) fn dispatch(&mut self, node: usize, request: Request, batch: &mut Batch) {
        let Request { slot, ask, replier } = request;
        let (now, mut effects) = (self.now_of(node), Vec::new());
        let custody = self.life(node).custody.get_mut(&slot).expect("a slot in use");
        let mut begins = None;
        match custody.dispatch(ask, now, &mut effects) {
            Dispatch::Channel(handle, command, ack) => {
                handle.sent += 1;
                let actor = handle.actor;
                self.put(node, actor, Mail::Command(command, ack, Some(replier)));
            }
            Dispatch::Begin(key, command, ack) => begins = Some((key, command, ack, replier)),
            Dispatch::Answered(answer) => self.reply(node, replier, answer),
            Dispatch::Ledger(..) => panic!("nobody asks for quotas here"),
        }
        if let Some((key, command, ack, replier)) = begins {
            let epoch = self.life(node).custody[&slot].next_epoch(None, now);
            let machine = Channel::new(key.channel.clone(), epoch, Self::settings());
            self.spawn(node, &key, machine, Vec::new());
            self.mail(node, &key, Mail::Command(command, ack, Some(replier)));
        }
        self.carry_out(node, slot, effects, batch);
    }

    fn go_on(&mut self, node: usize, start: Start) {
        let Start { key, machine, epoch, first, .. } = start;
        let forgotten = || Channel::forgotten(key.channel.clone(), epoch, Self::settings());
        let machine = machine.unwrap_or_else(forgotten);
        let edges: Vec<Edge> = machine.untold().collect();
        self.tell_application(node, edges);
        self.spawn(node, &key, machine, first);
    }

    fn spawn(&mut self, node: usize, key: &ChannelKey, machine: Channel, first: Vec<Command>) {
        let number = self.life(node).number();
        let epoch = machine.position().epoch;
        // What comes first was not sent by anyone.
        let count = first.len() as u64;
        let mailbox = first.into_iter().map(|command| Mail::Command(command, None, None));
        let actor = Actor {
            key: key.clone(),
            machine,
            mailbox: mailbox.collect(),
            handled: 0,
            is_awake: false,
            armed: None,
        };
        let life = self.life(node);
        life.actors.insert(number, actor);
        let handle = Handle { actor: number, sent: count };
        let custody = life.custody.get_mut(&Slot::of(key)).expect("a slot in use");
        custody.started(key.clone(), epoch, handle);
        self.wake_actor(node, number);
    }

    fn mail(&mut self, node: usize, key: &ChannelKey, mail: Mail) {
        let custody = self.life(node).custody.get_mut(&Slot::of(key)).expect("a slot in use");
        if let Some(handle) = custody.channel(key) {
            handle.sent += 1;
            let actor = handle.actor;
            self.put(node, actor, mail);
        }
    }

    fn put(&mut self, node: usize, actor: u64, mail: Mail) {
        if let Some(known) = self.life(node).actors.get_mut(&actor) {
            known.mailbox.push_back(mail);
        }
        self.wake_actor(node, actor);
    }

    fn wake_actor(&mut self, node: usize, number: u64) {
        let Some(actor) = self.life(node).actors.get_mut(&number) else { return };
        if !std::mem::replace(&mut actor.is_awake, true) {
            self.soon(node, Event::Actor(number));
        }
    }

    pub(super) fn run_actor(&mut self, node: usize, number: u64) {
        let Some(actor) = self.life(node).actors.get_mut(&number) else { return };
        actor.is_awake = false;
        if let Some(mail) = actor.mailbox.pop_front() {
            actor.handled += u64::from(!matches!(mail, Mail::Tick));
            match mail {
                Mail::Command(command, ack, replier) => {
                    self.command(node, number, command, (ack, replier));
                }
                Mail::Seed => {
                    self.change(node, number, (None, None), (Vec::new(), &mut Vec::new()))
                }
                Mail::Tick => self.command(node, number, Command::Tick, (None, None)),
                Mail::Hand(task) => {
                    if let Some(actor) = self.life(node).actors.remove(&number) {
                        self.handed(node, task, actor.key, actor.machine);
                    }
                    return;
                }
            }
        }
        self.rest(node, number);
    }

    /// Lets a channel end that retains nothing, or wakes it for its next deadline.
    fn rest(&mut self, node: usize, number: u64) {
        let now = self.now_of(node).moment;
        let life = self.life(node);
        let Some(actor) = life.actors.get(&number) else { return };
        let (key, handled) = (actor.key.clone(), actor.handled);
        if !actor.mailbox.is_empty() {
            return self.wake_actor(node, number);
        }
        if actor.machine.is_idle(now) {
            let mut batch = Batch::default();
            let is_done = self.with(node, Slot::of(&key), &mut batch, |custody, now, effects| {
                let known = custody.channel(&key);
                let is_done = known.is_some_and(|h| h.actor == number && h.sent == handled);
                if is_done {
                    custody.ended(&key, now, effects);
                }
                is_done
            });
            self.finish(node, batch);
            if is_done {
                self.life(node).actors.remove(&number);
                return;
            }
        }
        let Some(actor) = self.life(node).actors.get_mut(&number) else { return };
        let Some(deadline) = actor.machine.deadline() else { return };
        if actor.armed.is_none_or(|armed| deadline < armed) {
            actor.armed = Some(deadline);
            let wait = deadline.since(now);
            self.life_after(node, wait, Event::ActorTick(number));
        }
    }

    pub(super) fn tick_actor(&mut self, node: usize, number: u64) {
        if let Some(actor) = self.life(node).actors.get_mut(&number) {
            actor.armed = None;
            self.put(node, number, Mail::Tick);
        }
    }

    fn command(
        &mut self,
        node: usize,
        number: u64,
        command: Command,
        (ack, replier): (Option<Ack>, Option<Replier>),
    ) {
        let now = self.now_of(node);
        let is_replicating = self.life(node).members.len() > 1;
        let key = self.life(node).actors[&number].key.clone();
        let item = ItemKey::of(&key, &command);
        let custody = self.life(node).custody.get_mut(&Slot::of(&key)).expect("a slot in use");
        let earlier = item.as_ref().and_then(|item| custody.remembered(item, now.moment));
        let is_publish = matches!(command, Command::Publish(_));
        let mut effects = Vec::new();
        let (reply, record) = match earlier {
            Some(published) => (Reply::Published(published), None),
            None => {
                let record = (is_replicating && command.is_change()).then(|| command.clone());
                let actor = self.life(node).actors.get_mut(&number).expect("it runs");
                (actor.machine.apply(command, now, &mut effects), record)
            }
        };
        let answered = match (item, &reply) {
            (Some(item), Reply::Published(published)) => Some((item, published.clone())),
            _ => None,
        };
        let mut waiters = Vec::new();
        let mut at_once = None;
        match replier {
            Some(replier) if is_publish && ack == Some(Ack::Replicated) => {
                waiters.push(Waiter::Publish { replier, reply });
            }
            Some(replier) => at_once = Some((replier, reply)),
            None => {}
        }
        if record.is_some() {
            let edges = effects.extract_if(.., |e| matches!(e, Wanted::Webhook(_)));
            let edges: Vec<Edge> = edges.filter_map(edge_of).collect();
            if !edges.is_empty() {
                waiters.push(Waiter::Edges(edges));
            }
        }
        if record.is_some() || answered.is_some() || !waiters.is_empty() {
            self.change(node, number, (record, answered), (waiters, &mut effects));
        }
        self.carry_out_channel(node, &key, effects);
        if let Some((replier, reply)) = at_once {
            self.reply(node, replier, Answer::Reply(reply, Ack::Sequenced));
        }
    }

    fn change(
        &mut self,
        node: usize,
        number: u64,
        (command, answered): (Option<Command>, Option<(ItemKey, Published)>),
        (waiters, wanted): (Vec<Waiter>, &mut Vec<Wanted>),
    ) {
        let now = self.now_of(node);
        let Some(actor) = self.life(node).actors.get(&number) else { return };
        let (key, machine) = (actor.key.clone(), actor.machine.clone());
        let change = Change { key: &key, command, answered, now, machine: &machine, wanted };
        let mut batch = Batch::default();
        self.with(node, Slot::of(&key), &mut batch, |custody, _, effects| {
            custody.changed(change, waiters, effects);
        });
        self.finish(node, batch);
    }

    fn carry_out_channel(&mut self, node: usize, key: &ChannelKey, effects: Vec<Wanted>) {
        let me = self.life(node).me.clone();
        for effect in effects {
            match effect {
                Wanted::Relay { to, delivery } if to == me => self.relay(node, &me, key, delivery),
                Wanted::Relay { to, delivery } => {
                    self.send(node, &to, &Message::Deliver(key.clone(), delivery));
                }
                Wanted::Webhook(edge) => self.tell_application(node, vec![edge]),
                Wanted::Remember(retry, published) => {
                    let (channel, retry) = (key.clone(), RetryKey::clone(&retry));
                    let (item, mut batch) = (ItemKey { channel, retry }, Batch::default());
                    self.with(node, Slot::of(key), &mut batch, |custody, now, effects| {
                        custody.remember(item, published, now, effects);
                    });
                    self.finish(node, batch);
                }
            }
        }
    }

    fn finish_waiter(&mut self, node: usize, waiter: Waiter, reached: Ack) {
        match waiter {
            Waiter::Publish { replier, reply } if reached >= Ack::Replicated => {
                self.reply(node, replier, Answer::Reply(reply, reached));
            }
            Waiter::Publish { replier, .. } => self.reply(node, replier, Answer::Unavailable),
            Waiter::Edges(edges) => self.tell_application(node, edges),
        }
    }

    fn tell_application(&mut self, node: usize, edges: Vec<Edge>) {
        if edges.is_empty() {
            return;
        }
        self.life(node).webhooks.extend(edges);
        let wait = self.draw.millis(20, 80);
        self.life_after(node, wait, Event::Webhook);
    }

    pub(super) fn deliver_webhooks(&mut self, node: usize) {
        for edge in std::mem::take(&mut self.life(node).webhooks) {
            self.note(|| format!("node {node} tells {edge:?}"));
            let key = self.keys.iter().find(|key| key.channel == edge.channel).cloned();
            self.checker.hook("app", &edge);
            if let Some(key) = key.filter(|_| edge.is_turn()) {
                let told = Command::Told { number: edge.id.number };
                self.mail(node, &key, Mail::Command(told, None, None));
            }
        }
    }

    /// Gives a delivery to the shards that it concerns, if it comes from the owner they listen to.
    pub(super) fn relay(
        &mut self,
        node: usize,
        from: &RelayId,
        key: &ChannelKey,
        mut delivery: Delivery,
    ) {
        let is_fenced = self.mutation != Some(Mutation::DropFence);
        let owner = self.life(node).owners.get(&Slot::of(key)).copied();
        if is_fenced && owner.is_some_and(|owner| owner != from.incarnation) {
            return;
        }
        if let (false, Delivery::Resumed(resumed)) = (is_fenced, &mut delivery) {
            Arc::make_mut(resumed).is_diverged = false;
        }
        if let Delivery::Welcome { joined, .. } = &delivery {
            let shard = Life::shard_of(joined.socket);
            return self.put_to_shard(node, shard, ToShard::Deliver(key.clone(), delivery));
        }
        for shard in 0..SHARDS as usize {
            if self.life(node).shards[shard].locals.contains_key(key) {
                self.put_to_shard(node, shard, ToShard::Deliver(key.clone(), delivery.clone()));
            }
        }
    }

    pub(super) fn put_to_shard(&mut self, node: usize, shard: usize, message: ToShard) {
        let known = &mut self.life(node).shards[shard];
        known.queue.push_back(message);
        if !std::mem::replace(&mut known.is_awake, true) {
            self.soon(node, Event::Shard(shard));
        }
    }

    pub(super) fn run_shard(&mut self, node: usize, shard: usize) {
        let known = &mut self.life(node).shards[shard];
        known.is_awake = false;
        let batch: VecDeque<ToShard> = std::mem::take(&mut known.queue);
        for message in batch {
            if self.places[node].life.is_some() {
                self.shard_does(node, shard, message);
            }
        }
    }

    fn shard_does(&mut self, node: usize, shard: usize, message: ToShard) {
        let me = self.life(node).me.clone();
        match message {
            ToShard::Join(key, joined, tag) => {
                let known = &mut self.life(node).shards[shard];
                let Some(keys) = known.sockets.get_mut(&joined.socket) else { return };
                if !keys.contains(&key) {
                    keys.push(key.clone());
                }
                known.locals.entry(key.clone()).or_default().join(joined.clone());
                let client = usize::try_from(tag >> 32).unwrap();
                let then = Then::Join(client, key.clone(), joined.clone());
                self.ask_channel(node, key, Command::Join { relay: me, joined }, then);
            }
            ToShard::Refused(key, joined) => {
                let socket = joined.socket;
                if let Some(local) = self.life(node).shards[shard].locals.get_mut(&key) {
                    local.refuse(&joined);
                    self.forget_if_unused(node, shard, &key, socket);
                    let command = Command::Unsubscribe { relay: me, socket };
                    self.send_once(node, key, command);
                }
            }
            ToShard::Unsubscribe(key, socket, tag) => {
                if let Some(local) = self.life(node).shards[shard].locals.get_mut(&key) {
                    local.unsubscribe(socket);
                    self.forget_if_unused(node, shard, &key, socket);
                }
                let then = Then::Unsubscribe(usize::try_from(tag >> 32).unwrap(), key.clone());
                self.ask_channel(node, key, Command::Unsubscribe { relay: me, socket }, then);
            }
            ToShard::Detach(socket) => {
                let known = &mut self.life(node).shards[shard];
                for key in known.sockets.remove(&socket).unwrap_or_default() {
                    let known = &mut self.life(node).shards[shard];
                    if let Some(local) = known.locals.get_mut(&key) {
                        local.leave(socket);
                        self.forget_if_unused(node, shard, &key, socket);
                    }
                    let command = Command::Leave { relay: me.clone(), socket };
                    self.ask_channel(node, key, command, Then::Nobody);
                }
            }
            ToShard::Deliver(key, delivery) => self.shard_delivers(node, shard, &key, delivery),
            ToShard::Gather(slots, to, task) => {
                self.shard_lists(node, shard, &slots, &to);
                self.shard_gathered(node, task);
            }
        }
    }

    fn ask_channel(&mut self, node: usize, key: ChannelKey, command: Command, then: Then) {
        let (slot, ack) = (Slot::of(&key), None);
        let ask = Ask::Channel { key, command, ack };
        let deadline = self.now + DEADLINE;
        self.ask(node, Asking { slot, ask, is_repeatable: true, deadline, then });
    }

    fn send_once(&mut self, node: usize, key: ChannelKey, command: Command) {
        let slot = Slot::of(&key);
        // Nobody waits under this number.
        let number = self.life(node).number();
        let ask = Ask::Channel { key, command, ack: None };
        self.route_ask(node, slot, ask, Replier::Here(number));
    }

    fn forget_if_unused(&mut self, node: usize, shard: usize, key: &ChannelKey, socket: SocketId) {
        let known = &mut self.life(node).shards[shard];
        let Some(local) = known.locals.get(key) else { return };
        let (has, is_unused) = (local.has(socket), local.is_unused());
        if !has && let Some(keys) = known.sockets.get_mut(&socket) {
            keys.retain(|known| known != key);
        }
        if is_unused {
            known.locals.remove(key);
        }
    }

    fn shard_lists(&mut self, node: usize, shard: usize, slots: &[Slot], to: &RelayId) {
        let now = self.now_of(node).moment;
        let me = self.life(node).me.clone();
        let part = Part { index: u32::try_from(shard).unwrap(), of: SHARDS };
        let locals = &self.life(node).shards[shard].locals;
        let listed: Vec<(ChannelKey, Resync)> = locals
            .iter()
            .filter(|(key, _)| slots.contains(&Slot::of(key)))
            .map(|(key, local)| (key.clone(), local.resync(me.clone(), part, now)))
            .collect();
        let forgets = self.mutation == Some(Mutation::ForgetRelay) && shard == 1;
        let mut batch = Batch::default();
        for (key, resync) in listed.into_iter().filter(|_| !forgets) {
            if *to == me {
                self.with(node, Slot::of(&key), &mut batch, |custody, now, effects| {
                    custody.resync(key, resync, now, effects);
                });
            } else {
                self.send(node, to, &Message::Resync(key, resync));
            }
        }
        if *to == me {
            for &slot in slots {
                self.with(node, slot, &mut batch, |custody, _, effects| {
                    custody.listed(&me, part, effects);
                });
            }
        } else {
            self.send(node, to, &Message::Listed(slots.to_vec(), part));
        }
        self.finish(node, batch);
    }

    fn shard_delivers(&mut self, node: usize, shard: usize, key: &ChannelKey, delivery: Delivery) {
        let me = self.life(node).me.clone();
        if let Delivery::Welcome { joined, welcome } = &delivery {
            return self.welcome(node, (shard, key), joined, welcome);
        }
        let Some(local) = self.life(node).shards[shard].locals.get_mut(key) else { return };
        let all: Vec<SocketId> = local.subscribers().map(|(socket, _)| *socket).collect();
        match delivery {
            Delivery::Published(publication) => match local.publish(&publication) {
                Verdict::Deliver => {
                    let place = publication.position.offset;
                    let audience: Vec<SocketId> =
                        local.audience(place).map(|(socket, _)| *socket).collect();
                    self.note(|| {
                        let (mark, at) = (mark_of(&publication), publication.position);
                        format!("node {node} delivers {mark:?} at {at:?} to {audience:?}")
                    });
                    for socket in audience {
                        self.client_gets(socket, |world, connection| {
                            world.checker.received(connection, key, &publication);
                        });
                        if let Some(client) = self.client_of(socket) {
                            self.had(client, key, publication.position);
                        }
                    }
                }
                Verdict::Hole => {
                    let last = local.last();
                    self.send_once(node, key.clone(), Command::Resume { relay: me, last });
                }
                Verdict::Repeat | Verdict::Waiting => {}
            },
            Delivery::MemberAdded { member, except } => {
                if local.member_added(&member) {
                    let others = all.into_iter().filter(|&socket| socket != except).collect();
                    self.tell_members(key, others, member.user.as_str(), true);
                }
            }
            Delivery::MemberRemoved { user, .. } => {
                if local.member_removed(&user).is_some() {
                    self.tell_members(key, all, user.as_str(), false);
                }
            }
            Delivery::Resumed(resumed) => {
                let changes = local.resumed(&resumed);
                self.tell_changes(key, &all, &changes);
                if changes.is_gap {
                    self.close_for_gap((node, shard), key, all);
                }
            }
            Delivery::Welcome { .. }
            | Delivery::SubscriptionCount(_)
            | Delivery::Online(_)
            | Delivery::Terminate
            | Delivery::Notified(_) => {}
        }
    }

    fn welcome(
        &mut self,
        node: usize,
        (shard, key): (usize, &ChannelKey),
        joined: &Joined,
        welcome: &Arc<proto::channel::Welcome>,
    ) {
        let socket = joined.socket;
        let me = self.life(node).me.clone();
        let known = &mut self.life(node).shards[shard];
        if !known.sockets.contains_key(&socket) {
            let command = Command::Leave { relay: me, socket };
            return self.ask_channel(node, key.clone(), command, Then::Nobody);
        }
        let local = known.locals.get_mut(key);
        let is_known = local.as_ref().is_some_and(|local| local.has(socket));
        let others: Vec<SocketId> =
            local.iter().flat_map(|local| local.subscribers()).map(|(socket, _)| *socket).collect();
        let Some(changes) = local.and_then(|local| local.welcome(joined, welcome, socket)) else {
            if !is_known {
                self.send_once(node, key.clone(), Command::Leave { relay: me, socket });
            }
            return;
        };
        self.tell_changes(key, &others, &changes);
        if changes.is_gap {
            self.close_for_gap((node, shard), key, others);
        }
        assert!(matches!(joined.role, Role::Subscriber(_)));
        let Some(client) = self.client_of(socket) else { return };
        let is_wanted = self.is_wanted(client, key);
        self.note(|| {
            let (channel, since, at) = (&key.channel, joined.since, welcome.position);
            let recovery = welcome.recovery.as_ref().map(|recovery| match recovery {
                Recovery::Whole(missed) => format!("{} missed", missed.len()),
                Recovery::Gap => "a gap".to_owned(),
            });
            format!(
                "{client} is welcomed in {channel} at {at:?}, wanted={is_wanted}, since {since:?}: \
                 {recovery:?}"
            )
        });
        if is_wanted {
            self.welcomed(client, key, joined, welcome);
            for member in changes.unlisted {
                self.tell_members(key, vec![socket], member.user.as_str(), true);
            }
        }
    }

    /// Their sessions close them a while later; until then they get nothing more of the channel.
    fn close_for_gap(
        &mut self,
        (node, shard): (usize, usize),
        key: &ChannelKey,
        sockets: Vec<SocketId>,
    ) {
        self.checker.gaps += 1;
        self.note(|| format!("node {node} closes {sockets:?}: a gap in {key:?}"));
        for socket in sockets {
            let is_cut_off = self.mutation != Some(Mutation::DeliverAfterGap);
            let locals = &mut self.life(node).shards[shard].locals;
            if let Some(local) = locals.get_mut(key).filter(|_| is_cut_off) {
                local.unsubscribe(socket);
            }
            self.soon(node, Event::Close(socket));
        }
    }

    /// A session closes its connection.
    pub(super) fn close(&mut self, socket: SocketId) {
        if let Some(client) = self.client_of(socket) {
            self.hang_up(client);
        }
    }

    fn client_gets(&mut self, socket: SocketId, then: impl FnOnce(&mut Self, u64)) {
        let client = self.client_of(socket);
        let live = client.and_then(|client| self.clients[client].live.as_ref());
        if let Some(connection) = live.map(|live| live.connection) {
            then(self, connection);
        }
    }

    fn tell_changes(&mut self, key: &ChannelKey, to: &[SocketId], changes: &Changes) {
        for member in &changes.removed {
            self.tell_members(key, to.to_vec(), member.user.as_str(), false);
        }
        for member in &changes.added {
            self.tell_members(key, to.to_vec(), member.user.as_str(), true);
        }
    }

    fn tell_members(&mut self, key: &ChannelKey, to: Vec<SocketId>, user: &str, is_added: bool) {
        for socket in to {
            self.client_gets(socket, |world, connection| {
                world.checker.member(connection, key, user, is_added);
            });
        }
    }

    /// A channel panics: what is known of it elsewhere is gathered again.
    pub(super) fn panic_channel(&mut self, node: usize) {
        let Some((&number, actor)) = self.life(node).actors.iter().next() else { return };
        let key = actor.key.clone();
        let Some(actor) = self.life(node).actors.remove(&number) else { return };
        for mail in actor.mailbox {
            match mail {
                Mail::Command(_, _, Some(replier)) => {
                    self.reply(node, replier, Answer::Unavailable);
                }
                Mail::Hand(task) => self.hand_nothing(node, task, &key),
                Mail::Command(..) | Mail::Seed | Mail::Tick => {}
            }
        }
        let mut batch = Batch::default();
        self.with(node, Slot::of(&key), &mut batch, |custody, now, effects| {
            custody.failed(&key);
            custody.retake(now, effects);
        });
        self.finish(node, batch);
    }

    fn hand_nothing(&mut self, node: usize, task: u64, key: &ChannelKey) {
        if let Some(task) = self.life(node).tasks.get_mut(&task)
            && let Some((running, _)) = task.stopping.get_mut(&Slot::of(key))
        {
            *running -= 1;
        }
        self.gather_if_stopped(node, task);
    }

    /// The channel at its owner, when all is quiet.
    pub(super) fn owner_of(&self, key: &ChannelKey) -> Option<&Channel> {
        let lives = self.places.iter().filter_map(|place| place.life.as_ref());
        let mut serving = lives.filter(|life| life.custody[&Slot::of(key)].is_serving());
        let life = serving.next()?;
        life.actors.values().find(|actor| actor.key == *key).map(|actor| &actor.machine)
    }
}

fn edge_of(effect: Wanted) -> Option<Edge> {
    match effect {
        Wanted::Webhook(edge) => Some(edge),
        Wanted::Relay { .. } | Wanted::Remember(..) => None,
    }
}
