//! Channel actors of a life: what `node/src/channels` and `node/src/channel.rs` do with the same machines.

use proto::ChannelKey;
use proto::channel::{Channel, Command, Effect as Wanted, Published, Reply};
use proto::cluster::custody::{Change, Dispatch, Start};
use proto::cluster::message::{Ack, Answer, Message};
use proto::cluster::slot::Slot;
use proto::http::webhook::Edge;
use proto::idempotency::{ItemKey, RetryKey};

use super::node::{Actor, Handle, Mail, Replier, Request, Waiter};
use super::serve::Batch;
use super::world::{Event, World};

impl World {
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

    pub(super) fn go_on(&mut self, node: usize, start: Start) {
        let Start { key, machine, epoch, first, .. } = start;
        let forgotten = || Channel::forgotten(key.channel.clone(), epoch, Self::settings());
        let machine = machine.unwrap_or_else(forgotten);
        let edges: Vec<Edge> = machine.untold().collect();
        self.tell_application(node, edges);
        self.spawn(node, &key, machine, first);
    }

    pub(super) fn spawn(
        &mut self,
        node: usize,
        key: &ChannelKey,
        machine: Channel,
        first: Vec<Command>,
    ) {
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

    pub(super) fn mail(&mut self, node: usize, key: &ChannelKey, mail: Mail) {
        let custody = self.life(node).custody.get_mut(&Slot::of(key)).expect("a slot in use");
        if let Some(handle) = custody.channel(key) {
            handle.sent += 1;
            let actor = handle.actor;
            self.put(node, actor, mail);
        }
    }

    pub(super) fn put(&mut self, node: usize, actor: u64, mail: Mail) {
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

    pub(super) fn finish_waiter(&mut self, node: usize, waiter: Waiter, reached: Ack) {
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
}

fn edge_of(effect: Wanted) -> Option<Edge> {
    match effect {
        Wanted::Webhook(edge) => Some(edge),
        Wanted::Relay { .. } | Wanted::Remember(..) => None,
    }
}
