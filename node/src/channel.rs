//! The actor around a channel's machine: it takes one command at a time from its mailbox, applies
//! it, sends the change to the successor, carries the effects out in their order, and answers.
//!
//! **Invariant:** nothing is decided here. The message type is local to the process: a channel
//! actor is never visible to other nodes, whose questions reach it through the table of slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proto::channel::{Channel, Command, Effect, Published, Reply};
use proto::cluster::custody::Change;
use proto::cluster::message::{Ack, deliver};
use proto::http::webhook::Edge;
use proto::idempotency::{ItemKey, RetryKey};
use proto::{ChannelKey, Moment, Now};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::channels::{Channels, Replier, Waiter};

/// What a channel actor is sent.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Nearly all are commands, and the mailbox boxes them.
pub enum Message {
    /// A command, and who waits for the answer.
    Command {
        /// The command.
        command: Command,
        /// When a publish is answered, if the publisher said so.
        ack: Option<Ack>,
        /// Where the answer goes, if anyone wants it.
        replier: Option<Replier>,
    },
    /// The successor is to be sent the whole channel, unless it has it.
    Seed,
    /// Another node goes on with the channel: give its state away and end.
    Hand(oneshot::Sender<Box<Channel>>),
    /// A deadline of the machine has come.
    Tick,
    /// A fault, to see what is left standing.
    #[cfg(test)]
    Panic,
}

impl ractor::Message for Message {}

/// What can be seen of a channel from outside without asking it.
#[derive(Debug, Default)]
pub struct Vitals {
    subscribers: AtomicUsize,
    members: AtomicUsize,
}

impl Vitals {
    /// Shows the state of a channel.
    pub fn show(&self, machine: &Channel) {
        self.subscribers.store(machine.subscriber_count(), Ordering::Relaxed);
        self.members.store(machine.member_count(), Ordering::Relaxed);
    }

    /// Connections subscribed, and distinct members.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.subscribers.load(Ordering::Relaxed), self.members.load(Ordering::Relaxed))
    }
}

/// The actor.
#[derive(Debug)]
pub struct ChannelActor;

/// What an actor begins with.
#[derive(Debug)]
pub struct Start {
    /// Which channel.
    pub key: ChannelKey,
    /// The channel, new or as another node had it.
    pub machine: Box<Channel>,
    /// What it may show of itself.
    pub vitals: Arc<Vitals>,
    /// Applied before anything else.
    pub first: Vec<Command>,
    /// The table it stands in.
    pub channels: Channels,
}

/// What a command has changed.
struct Made {
    now: Now,
    /// The command, if a successor has to hear of it.
    command: Option<Command>,
    /// The answer of a keyed publish.
    answered: Option<(ItemKey, Published)>,
}

/// Which effect's delivery was encoded, and as what.
type Encoded = (usize, (u8, Vec<u8>));

/// The actor's state.
#[derive(Debug)]
pub struct State {
    key: ChannelKey,
    machine: Box<Channel>,
    vitals: Arc<Vitals>,
    channels: Channels,
    first: Vec<Command>,
    effects: Vec<Effect>,
    /// Messages taken from the mailbox: the table knows how many were sent.
    handled: u64,
    /// The deadline that the actor will be woken for, and what will wake it.
    armed: Option<(Moment, AbortHandle)>,
}

impl Actor for ChannelActor {
    type Msg = Message;
    type State = State;
    type Arguments = Start;

    async fn pre_start(
        &self,
        _myself: ActorRef<Message>,
        start: Start,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            key: start.key,
            machine: start.machine,
            vitals: start.vitals,
            channels: start.channels,
            first: start.first,
            effects: Vec::new(),
            handled: 0,
            armed: None,
        })
    }

    /// A channel that was taken over may have nobody left.
    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        for command in std::mem::take(&mut state.first) {
            state.change(command).await;
        }
        state.rest(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Command { command, ack, replier } => {
                state.handled += 1;
                state.answer(command, ack, replier).await;
            }
            Message::Seed => {
                state.handled += 1;
                state.seed();
            }
            Message::Hand(reply) => {
                state.handled += 1;
                state.disarm();
                // A node that stops meanwhile needs it no more.
                let _ = reply.send(state.machine.clone());
                myself.stop(None);
                return Ok(());
            }
            Message::Tick => {
                state.armed = None;
                state.change(Command::Tick).await;
            }
            #[cfg(test)]
            Message::Panic => panic!("a fault injected by a test"),
        }
        state.rest(&myself);
        Ok(())
    }
}

impl State {
    async fn answer(&mut self, command: Command, ack: Option<Ack>, replier: Option<Replier>) {
        let item = ItemKey::of(&self.key, &command);
        let earlier = item.as_ref().and_then(|item| self.channels.remembered(item));
        let is_publish = matches!(command, Command::Publish(_));
        let (reply, made) = match earlier {
            Some(published) => (Reply::Published(published), self.nothing()),
            None => self.apply(command, item),
        };
        let level = ack.unwrap_or(self.channels.default_ack());
        let is_held = is_publish && level == Ack::Replicated && !is_refusal(&reply);
        let (waiter, at_once) = match replier {
            Some(replier) if is_held => {
                let is_strict = ack == Some(Ack::Replicated);
                (Some(Waiter::Publish { replier, reply, is_strict }), None)
            }
            Some(replier) => (None, Some((replier, reply))),
            None => (None, None),
        };
        self.replicate(made, waiter);
        self.carry_out().await;
        if let Some((replier, reply)) = at_once {
            replier.reply(reply, Ack::Sequenced);
        }
    }

    async fn change(&mut self, command: Command) {
        let (_, made) = self.apply(command, None);
        self.replicate(made, None);
        self.carry_out().await;
    }

    fn apply(&mut self, command: Command, item: Option<ItemKey>) -> (Reply, Made) {
        let now = self.channels.clock().now();
        let is_recorded = self.channels.is_replicating() && command.is_change();
        let record = is_recorded.then(|| command.clone());
        let reply = self.machine.apply(command, now, &mut self.effects);
        self.vitals.show(&self.machine);
        let answered = match (item, &reply) {
            (Some(item), Reply::Published(published)) => Some((item, published.clone())),
            _ => None,
        };
        (reply, Made { now, command: record, answered })
    }

    /// No change.
    fn nothing(&self) -> Made {
        Made { now: self.channels.clock().now(), command: None, answered: None }
    }

    /// Sends the successor what has changed. Whoever waits for it, waits; and so does what the
    /// application is to be told, if a crash could still undo it.
    fn replicate(&mut self, made: Made, waiter: Option<Waiter>) {
        let mut waiters = Vec::from_iter(waiter);
        if made.command.is_some() {
            let edges = self.take_edges();
            if !edges.is_empty() {
                waiters.push(Waiter::Edges(self.key.app.clone(), edges));
            }
        }
        let Made { now, command, answered } = made;
        if command.is_some() || answered.is_some() || !waiters.is_empty() {
            let (key, machine, wanted) = (&self.key, &self.machine, &mut self.effects);
            let change = Change { key, command, answered, now, machine, wanted };
            self.channels.changed(change, waiters);
        }
    }

    fn take_edges(&mut self) -> Vec<Edge> {
        let is_edge = |effect: &mut Effect| matches!(effect, Effect::Webhook(_));
        let edges = self.effects.extract_if(.., is_edge).filter_map(|effect| match effect {
            Effect::Webhook(edge) => Some(edge),
            Effect::Relay { .. } | Effect::Remember(..) => None,
        });
        edges.collect()
    }

    fn seed(&mut self) {
        let Made { now, command, answered } = self.nothing();
        let (key, machine, wanted) = (&self.key, &self.machine, &mut self.effects);
        let change = Change { key, command, answered, now, machine, wanted };
        self.channels.changed(change, Vec::new());
    }

    /// Carries the effects out. What goes to several other nodes is encoded once.
    async fn carry_out(&mut self) {
        let mut encoded: Option<Encoded> = None;
        for (index, effect) in self.effects.iter().enumerate() {
            let (to, delivery) = match effect {
                Effect::Relay { to, delivery } => (to, delivery),
                Effect::Webhook(edge) => {
                    self.channels.webhooks().push(&self.key.app, edge);
                    continue;
                }
                Effect::Remember(retry, published) => {
                    let (channel, retry) = (self.key.clone(), RetryKey::clone(retry));
                    self.channels.remember(ItemKey { channel, retry }, published.clone());
                    continue;
                }
            };
            if to == self.channels.me() {
                self.channels.relay().deliver(to, &self.key, delivery.clone()).await;
                continue;
            }
            let is_same = encoded.as_ref().is_some_and(|(earlier, _)| {
                matches!(&self.effects[*earlier], Effect::Relay { delivery: d, .. } if d == delivery)
            });
            if !is_same {
                encoded = Some((index, deliver(&self.key, delivery)));
            }
            if let Some((_, (kind, body))) = &encoded {
                self.channels.peers().send_encoded(to, *kind, body);
            }
        }
        self.effects.clear();
    }

    /// Ends the actor if nothing is retained, else wakes it for the machine's next deadline.
    fn rest(&mut self, myself: &ActorRef<Message>) {
        let now = self.channels.clock().moment();
        if self.machine.is_idle(now) && self.channels.retire(&self.key, self.handled) {
            myself.stop(None);
            return;
        }
        let Some(deadline) = self.machine.deadline() else {
            return;
        };
        if self.armed.as_ref().is_none_or(|(armed, _)| deadline < *armed) {
            self.disarm();
            let timer = myself.send_after(deadline.since(now), || Message::Tick);
            self.armed = Some((deadline, timer.abort_handle()));
        }
    }

    fn disarm(&mut self) {
        if let Some((_, timer)) = self.armed.take() {
            timer.abort();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.disarm();
    }
}

const fn is_refusal(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(_))
}

/// The answer of a publish, or why there is none.
///
/// # Errors
/// The refusal. Any other answer to a publish would be a fault of the channel.
pub fn published(reply: Reply) -> Result<Published, proto::Refusal> {
    match reply {
        Reply::Published(published) => Ok(published),
        Reply::Refused(refusal) => Err(refusal),
        Reply::Done | Reply::Channel(_) | Reply::Members(_) => Err(proto::Refusal::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_channel_message_can_leave_the_process() {
        assert!(!<Message as ractor::Message>::serializable());
    }
}
