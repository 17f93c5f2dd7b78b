//! One shard of the relay: some of this node's connections and the channels they are in.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use proto::channel::{Command, Delivery, Joined, Part, Resumed, Resync};
use proto::cluster::slot::{SLOTS, Slot};
use proto::door::Close;
use proto::event::Publication;
use proto::pusher::code::CloseCode;
use proto::relay::{Local, Standing, Verdict};
use proto::wire::Wire;
use proto::{ChannelKey, RelayId, SocketId};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use crate::metrics::RelayMetrics;
use crate::outbox::Outbox;
use crate::router::{Asked, Router};
use crate::shrink;

use super::index::Index;
use super::{Closed, ToShard, Transports};

mod connection;
mod fanout;
mod frames;
mod welcome;

use connection::Connection;

/// Deliveries taken from the queue at once: what one subscriber gets of them leaves in one write.
const BATCH: usize = 64;

/// Frames of one batch from which on it is worth waiting for more before the next: small fan-outs
/// are done before another publisher could have had its turn.
const LARGE: u64 = 256;

/// What a shard's task needs from the relay it belongs to.
#[derive(Debug)]
pub struct ShardParts {
    pub(super) number: usize,
    pub(super) receiver: mpsc::Receiver<ToShard>,
    pub(super) index: Arc<Index>,
}

/// The state of one shard.
#[derive(Debug)]
pub struct Shard {
    number: usize,
    index: Arc<Index>,
    router: Router,
    metrics: RelayMetrics,
    connections: HashMap<SocketId, Connection>,
    /// By slot, so that a claim of a few slots does not look at all channels.
    channels: Box<[HashMap<ChannelKey, Local<Sink>>]>,
    /// Frames given to outboxes in the last batch.
    delivered: u64,
    /// Whether more than one message was taken at once: then frames are gathered and leave together.
    is_gathering: bool,
    /// Outboxes that got their first waiting frame in this batch.
    unflushed: Vec<Arc<Outbox>>,
}

/// Where a subscriber's frames go, and in which form.
#[derive(Debug)]
struct Sink {
    outbox: Arc<Outbox>,
    wire: Wire,
    /// Whether what was encoded for all is completed for the subscriber, or its place is followed.
    is_personal: bool,
}

impl Shard {
    /// Runs the shard until the relay is gone.
    pub async fn run(parts: ShardParts, router: Router, metrics: RelayMetrics) {
        let ShardParts { number, mut receiver, index } = parts;
        let mut shard = Self {
            number,
            index,
            router,
            metrics,
            connections: HashMap::new(),
            channels: (0..SLOTS).map(|_| HashMap::new()).collect(),
            delivered: 0,
            is_gathering: false,
            unflushed: Vec::new(),
        };
        let mut batch = Vec::with_capacity(BATCH);
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            if shard.delivered >= LARGE {
                // The channel that woke this task runs right before it: let the others run too, and
                // what they have leaves in the same writes.
                yield_now().await;
                while batch.len() < BATCH
                    && let Ok(message) = receiver.try_recv()
                {
                    batch.push(message);
                }
            }
            shard.delivered = 0;
            shard.is_gathering = batch.len() > 1;
            for message in batch.drain(..) {
                if catch_unwind(AssertUnwindSafe(|| shard.handle(message))).is_err() {
                    shard.recover();
                }
            }
            for outbox in shard.unflushed.drain(..) {
                outbox.flush();
            }
        }
    }

    fn handle(&mut self, message: ToShard) {
        match message {
            ToShard::Attach { attached, outbox } => {
                self.connections.insert(attached.socket, Connection::new(attached, outbox));
            }
            ToShard::Mark { socket } => {
                if let Some(connection) = self.connections.get_mut(&socket) {
                    connection.mark(&mut self.unflushed);
                }
            }
            ToShard::GoesOn { socket, cursor } => {
                if let Some(connection) = self.connections.get_mut(&socket) {
                    connection.goes_on(cursor);
                }
            }
            ToShard::Detach { socket, is_for_good } => self.detach(socket, is_for_good),
            // Someone who waits no longer is gone.
            ToShard::Reached { reply } => drop(reply.send(())),
            // Someone who asked and is gone has left by another message.
            ToShard::Join { key, joined, reply } => drop(reply.send(self.join(key, joined))),
            ToShard::Refused { key, joined, reply } => {
                // One that waits no longer is gone.
                let _ = reply.send(self.refused(&key, &joined));
            }
            ToShard::Unsubscribe { key, socket, reply } => {
                drop(reply.send(self.unsubscribe(key, socket)));
            }
            ToShard::Deliver { key, delivery } => self.deliver(&key, &delivery),
            ToShard::Transports { key, reply } => {
                let _ = reply.send(self.transports(&key));
            }
            ToShard::Terminate { app, connection, reply } => {
                let _ = reply.send(self.terminate_one(&app, &connection));
            }
            ToShard::Notify { app, text, reply } => {
                // One that waits no longer has given up.
                let _ = reply.send(self.notify(&app, &text));
            }
            ToShard::Gather { slots, to, reply } => {
                self.gather(&slots, &to);
                let _ = reply.send(());
            }
            ToShard::Close { connections, close, reply } => {
                // A node that waits no longer has ended.
                let _ = reply.send(self.close(connections, &close));
            }
            #[cfg(test)]
            ToShard::Panic => panic!("a fault injected by a test"),
        }
    }

    /// After a panic nothing in here can be trusted: its connections are closed and leave their
    /// channels, and begin anew wherever they reconnect.
    fn recover(&mut self) {
        tracing::error!(shard = self.number, "a relay shard panicked; its connections are closed");
        self.close(usize::MAX, &CloseCode::Reconnect.because("the server failed; reconnect"));
        for (socket, connection) in self.connections.drain() {
            for key in connection.channels {
                self.index.remove(&key, self.number);
                self.router.leave(key, socket);
            }
        }
        self.channels.iter_mut().for_each(HashMap::clear);
    }

    fn close(&mut self, connections: usize, close: &Close) -> Closed {
        let open = self.connections.values_mut().filter(|connection| !connection.is_closing);
        let mut closed = 0;
        for connection in open.take(connections) {
            connection.close(close.clone());
            closed += 1;
        }
        Closed { closed, remaining: self.connections.len() }
    }

    /// Notes that a connection wants to be in a channel and asks the owner. From here on the owner
    /// hears of the connection in every resync, so that no change of owner can lose it.
    fn join(&mut self, key: ChannelKey, joined: Joined) -> Asked {
        let Some(connection) = self.connections.get_mut(&joined.socket) else {
            return Asked::unavailable();
        };
        connection.channels.insert(key.clone());
        if let Some(since) = joined.since {
            connection.begins(&key.channel, since);
        }
        self.index.add(&key, self.number);
        self.channels[Slot::of(&key).index()].entry(key.clone()).or_default().join(joined.clone());
        let relay = self.router.me().clone();
        self.router.ask(key, Command::Join { relay, joined })
    }

    fn refused(&mut self, key: &ChannelKey, joined: &Joined) -> Standing {
        let socket = joined.socket;
        let Some(local) = self.local(key) else {
            return Standing::Out;
        };
        let standing = local.refuse(joined);
        if standing != Standing::Out {
            return standing;
        }
        self.forget_if_unused(key, socket);
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.left(&key.channel);
        }
        // The owner may have heard of it in a resync in the meantime.
        let relay = self.router.me().clone();
        self.router.send_once(key.clone(), Command::Unsubscribe { relay, socket });
        Standing::Out
    }

    fn unsubscribe(&mut self, key: ChannelKey, socket: SocketId) -> Asked {
        if let Some(local) = self.local(&key) {
            local.unsubscribe(socket);
            self.forget_if_unused(&key, socket);
        }
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.left(&key.channel);
            if let Some(frame) = connection.wire.left(&key.channel) {
                // An outbox that is full is closed by itself.
                let _ = connection.give(frame, &mut self.unflushed);
            }
        }
        let relay = self.router.me().clone();
        self.router.ask(key, Command::Unsubscribe { relay, socket })
    }

    /// Says to the claimant of slots what is here of their channels.
    fn gather(&self, slots: &[Slot], to: &RelayId) {
        for slot in slots {
            for (key, local) in &self.channels[slot.index()] {
                self.router.resync(to, key.clone(), self.resync(local));
            }
        }
        self.router.listed(to, slots, self.part());
    }

    fn resync(&self, local: &Local<Sink>) -> Resync {
        local.resync(self.router.me().clone(), self.part(), self.metrics.clock().moment())
    }

    /// The connections that this shard has.
    fn part(&self) -> Part {
        #[allow(clippy::cast_possible_truncation)] // At most SHARDS_MAX.
        Part { index: self.number as u32, of: self.index.shards_total() as u32 }
    }

    fn deliver(&mut self, key: &ChannelKey, delivery: &Delivery) {
        match delivery {
            Delivery::Welcome { joined, welcome } => self.welcome(key, joined, welcome, delivery),
            Delivery::Published(publication) => self.published(key, publication, delivery),
            Delivery::MemberAdded { member, except } => {
                if self.local(key).is_some_and(|local| local.member_added(member)) {
                    self.tell_subscribers(key, delivery, Some(*except));
                }
            }
            Delivery::MemberRemoved { user, .. } => {
                if let Some(member) = self.local(key).and_then(|it| it.member_removed(user)) {
                    self.tell_subscribers(key, &fanout::gone(&member), None);
                }
            }
            Delivery::SubscriptionCount(_) => {
                self.tell_subscribers(key, delivery, None);
            }
            Delivery::Online(is_online) => self.tell_watchers(key, *is_online),
            Delivery::Terminate => self.terminate(key),
            Delivery::Notified(text) => self.notify_user(key, text),
            Delivery::Resumed(resumed) => self.resumed(key, resumed),
        }
    }

    fn published(&mut self, key: &ChannelKey, publication: &Arc<Publication>, delivery: &Delivery) {
        let Some(local) = self.local(key) else {
            return;
        };
        match local.publish(publication) {
            Verdict::Deliver => {
                let except = publication.draft.origin.except();
                let sent = self.tell_subscribers(key, delivery, except);
                self.delivered += sent.events();
                self.metrics.published(&key.app, &sent, publication.accepted);
            }
            Verdict::Repeat | Verdict::Waiting => self.metrics.skipped(),
            Verdict::Hole => {
                let last = local.last();
                self.metrics.hole();
                tracing::warn!(channel = ?key.channel, "publications are missing; the owner is asked");
                let relay = self.router.me().clone();
                self.router.send_once(key.clone(), Command::Resume { relay, last });
            }
        }
    }

    /// The channel goes on, under a new owner or after a loss: members that came and went meanwhile
    /// are announced. A loss of publications is never hidden: a door that cannot say so closes.
    fn resumed(&mut self, key: &ChannelKey, resumed: &Resumed) {
        let Some(local) = self.local(key) else {
            return;
        };
        let changes = local.resumed(resumed);
        let is_gap = changes.is_gap;
        self.tell_changes(key, changes, None);
        if is_gap {
            self.gap(key, None);
        }
        self.tell_watchers(key, resumed.is_online);
    }

    /// All subscribers but one lack publications. One that cannot be told so is closed, and gets nothing
    /// from here on: what comes now is of another way than what it has.
    fn gap(&mut self, key: &ChannelKey, but: Option<SocketId>) {
        self.metrics.gap();
        tracing::warn!(channel = ?key.channel, "publications are lost; subscribers are told to reconnect");
        let Some(local) = self.channels[Slot::of(key).index()].get_mut(key) else {
            return;
        };
        let mut closed = Vec::new();
        for (socket, sink) in local.subscribers().filter(|(socket, _)| Some(**socket) != but) {
            let Some(connection) = self.connections.get_mut(socket) else {
                continue;
            };
            if let Some(frame) = sink.wire.gap(&key.channel) {
                connection.came_to(&key.channel, local.last());
                // An outbox that is full is closed by itself.
                let _ = connection.give(frame, &mut self.unflushed);
            } else {
                let reason = "events of a channel were lost; reconnect";
                connection.close(CloseCode::Reconnect.because(reason));
                closed.push(*socket);
            }
        }
        for socket in closed {
            local.unsubscribe(socket);
        }
    }

    fn detach(&mut self, socket: SocketId, is_for_good: bool) {
        let Some(connection) = self.connections.remove(&socket) else {
            return;
        };
        shrink::map(&mut self.connections, BATCH);
        let is_final = connection.is_resumable() && is_for_good;
        for key in connection.channels {
            if let Some(local) = self.local(&key) {
                local.leave(socket);
                self.forget_if_unused(&key, socket);
            }
            if is_final {
                // Who leaves by itself has no grace.
                let relay = self.router.me().clone();
                self.router.send_once(key.clone(), Command::Unsubscribe { relay, socket });
            }
            self.router.leave(key, socket);
        }
    }

    fn transports(&self, key: &ChannelKey) -> Transports {
        let mut counts = Transports::default();
        let local = self.channels[Slot::of(key).index()].get(key);
        for (_, sink) in local.iter().flat_map(|local| local.subscribers()) {
            counts[sink.wire.index()] += 1;
        }
        counts
    }

    fn local(&mut self, key: &ChannelKey) -> Option<&mut Local<Sink>> {
        self.channels[Slot::of(key).index()].get_mut(key)
    }

    fn forget_if_unused(&mut self, key: &ChannelKey, socket: SocketId) {
        let slot = &mut self.channels[Slot::of(key).index()];
        let Some(local) = slot.get(key) else {
            return;
        };
        if !local.has(socket)
            && let Some(connection) = self.connections.get_mut(&socket)
        {
            connection.channels.remove(key);
            shrink::set(&mut connection.channels, 0);
        }
        if local.is_unused() {
            slot.remove(key);
            shrink::map(slot, 0);
            self.index.remove(key, self.number);
        }
    }
}
