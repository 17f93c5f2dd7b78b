//! The actor around a channel's machine: it takes one command at a time from its mailbox, applies
//! it, carries the effects out in their order, and answers.
//!
//! **Invariant:** nothing is decided here. The message type is local to the process: a channel
//! actor is never visible to other nodes, whose gateways reach it through the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proto::channel::{Channel, Command, Effect, Published, Reply, Settings};
use proto::idempotency::ItemKey;
use proto::{ChannelKey, Epoch, Moment};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::channels::Channels;

/// What a channel actor is sent.
#[derive(Debug)]
pub enum Message {
    /// A command, and who waits for the answer.
    Command {
        /// The command.
        command: Command,
        /// Under which a repeated publish gets the first answer.
        item: Option<ItemKey>,
        /// Where the answer goes, if anyone wants it.
        reply: Option<oneshot::Sender<Reply>>,
    },
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
    /// Connections subscribed.
    pub subscribers: AtomicUsize,
    /// Distinct members.
    pub members: AtomicUsize,
}

/// The actor.
#[derive(Debug)]
pub struct ChannelActor;

/// What an actor begins with.
#[derive(Debug)]
pub struct Start {
    /// Which channel.
    pub key: ChannelKey,
    /// Under which ownership.
    pub epoch: Epoch,
    /// The app's settings.
    pub settings: Settings,
    /// What it may show of itself.
    pub vitals: Arc<Vitals>,
    /// Commands of the earlier ownership's relays, applied first.
    pub resync: Vec<Command>,
    /// The table it stands in.
    pub channels: Channels,
}

/// The actor's state.
#[derive(Debug)]
pub struct State {
    key: ChannelKey,
    machine: Channel,
    vitals: Arc<Vitals>,
    channels: Channels,
    effects: Vec<Effect>,
    /// Commands taken from the mailbox: the table knows how many were sent.
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
        let machine = Channel::new(start.key.channel.clone(), start.epoch, start.settings);
        let mut state = State {
            key: start.key,
            machine,
            vitals: start.vitals,
            channels: start.channels,
            effects: Vec::new(),
            handled: 0,
            armed: None,
        };
        for command in start.resync {
            state.apply(command).await;
        }
        Ok(state)
    }

    /// A restarted channel may have nobody left.
    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
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
            Message::Command { command, item, reply } => {
                state.handled += 1;
                let answer = state.answer(command, item).await;
                // Nobody may be waiting any more; the answer stays under its key.
                if let Some(reply) = reply {
                    let _ = reply.send(answer);
                }
            }
            Message::Tick => {
                state.armed = None;
                state.apply(Command::Tick).await;
            }
            #[cfg(test)]
            Message::Panic => panic!("a fault injected by a test"),
        }
        state.rest(&myself);
        Ok(())
    }
}

impl State {
    async fn answer(&mut self, command: Command, item: Option<ItemKey>) -> Reply {
        let Some(item) = item else {
            return self.apply(command).await;
        };
        if let Some(published) = self.channels.remembered(&item) {
            return Reply::Published(published);
        }
        let reply = self.apply(command).await;
        if let Reply::Published(published) = &reply {
            self.channels.remember(item, published.clone());
        }
        reply
    }

    async fn apply(&mut self, command: Command) -> Reply {
        let now = self.channels.clock().now();
        let reply = self.machine.apply(command, now, &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Relay { to, delivery } => {
                    self.channels.relay(&to).deliver(&self.key, delivery).await;
                }
                Effect::Webhook(edge) => self.channels.webhooks().push(&self.key.app, &edge),
            }
        }
        self.show();
        reply
    }

    fn show(&self) {
        let subscribers = self.machine.subscriber_count();
        self.vitals.subscribers.store(subscribers, Ordering::Relaxed);
        self.vitals.members.store(self.machine.member_count(), Ordering::Relaxed);
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
