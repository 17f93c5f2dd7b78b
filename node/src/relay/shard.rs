//! One shard of the relay: some of this node's connections and the channels they are in.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use proto::channel::{Delivery, Joined, Role, Welcome};
use proto::door::Signal;
use proto::pusher::code::CloseCode;
use proto::wire::Wire;
use proto::{ChannelKey, Position, SocketId};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use crate::metrics::RelayMetrics;
use crate::outbox::{Full, Outbox};
use crate::router::Router;

use super::{Index, ToShard};

/// Deliveries taken from the queue at once: what one subscriber gets of them leaves in one write.
const BATCH: usize = 64;

/// Frames of one batch from which on it is worth waiting for more before the next: small fan-outs
/// are done before another publisher could have had its turn.
const LARGE: usize = 256;

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
    channels: HashMap<ChannelKey, Local>,
    /// Frames given to outboxes in the last batch.
    delivered: usize,
    /// Whether more than one message was taken at once: then frames are gathered and leave together.
    is_gathering: bool,
    /// Outboxes that got their first waiting frame in this batch.
    unflushed: Vec<Arc<Outbox>>,
}

#[derive(Debug)]
struct Connection {
    outbox: Arc<Outbox>,
    wire: Wire,
    channels: HashSet<ChannelKey>,
    /// It was told to close and has not gone yet.
    is_closing: bool,
}

/// A channel's connections in this shard.
#[derive(Debug, Default)]
struct Local {
    last: Position,
    subscribers: IndexMap<SocketId, Subscriber>,
    /// Connections here in another role: signed in as, or watching, this channel's user.
    others: IndexMap<SocketId, Vec<Role>>,
}

#[derive(Debug)]
struct Subscriber {
    outbox: Arc<Outbox>,
    wire: Wire,
    role: Role,
}

impl Local {
    fn add_other(&mut self, socket: SocketId, role: Role) {
        let roles = self.others.entry(socket).or_default();
        // A join that was repeated is welcomed twice.
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
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
            channels: HashMap::new(),
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
            ToShard::Attach { socket, outbox, wire } => {
                let (channels, is_closing) = (HashSet::new(), false);
                let connection = Connection { outbox, wire, channels, is_closing };
                self.connections.insert(socket, connection);
            }
            ToShard::Detach { socket } => self.detach(socket),
            ToShard::Deliver { key, delivery } => self.deliver(key, &delivery),
            // An asker that is gone needs no answer.
            ToShard::Resync { key, reply } => drop(reply.send(self.resync(&key))),
            ToShard::Drain { connections, reply } => drop(reply.send(self.drain(connections))),
            #[cfg(test)]
            ToShard::Panic => panic!("a fault injected by a test"),
        }
    }

    /// After a panic nothing in here can be trusted: its connections are closed and leave their
    /// channels, and begin anew wherever they reconnect.
    fn recover(&mut self) {
        tracing::error!(shard = self.number, "a relay shard panicked; its connections are closed");
        self.drain(usize::MAX);
        for (socket, connection) in self.connections.drain() {
            for key in connection.channels {
                self.index.remove(&key, self.number);
                self.router.leave(key, socket);
            }
        }
        self.channels.clear();
    }

    fn drain(&mut self, connections: usize) -> usize {
        let open = self.connections.values_mut().filter(|connection| !connection.is_closing);
        for connection in open.take(connections) {
            let close = CloseCode::Reconnect.because("the server is going away; reconnect");
            connection.outbox.signal(Signal::Close(close));
            connection.is_closing = true;
        }
        self.connections.len()
    }

    fn deliver(&mut self, key: ChannelKey, delivery: &Delivery) {
        match delivery {
            Delivery::Welcome { joined, welcome } => self.welcome(key, joined, welcome, delivery),
            Delivery::Farewell { socket } => self.forget_subscriber(&key, *socket),
            Delivery::Published(publication) => {
                let except = publication.draft.origin.except();
                let Some(local) = self.channels.get_mut(&key) else {
                    return;
                };
                // What an earlier ownership has delivered is not delivered again.
                if publication.position <= local.last {
                    return;
                }
                local.last = publication.position;
                let (sent, bytes) = self.tell_subscribers(&key, delivery, except);
                self.delivered += sent;
                self.metrics.published(&key.app, sent, bytes, publication.accepted);
            }
            Delivery::MemberAdded { except, .. } => {
                self.tell_subscribers(&key, delivery, Some(*except));
            }
            Delivery::MemberRemoved { .. } | Delivery::SubscriptionCount(_) => {
                self.tell_subscribers(&key, delivery, None);
            }
            Delivery::Online(is_online) => self.tell_watchers(&key, *is_online),
            Delivery::Terminate => self.terminate(&key),
        }
    }

    fn welcome(
        &mut self,
        key: ChannelKey,
        joined: &Joined,
        welcome: &Welcome,
        delivery: &Delivery,
    ) {
        let socket = joined.socket;
        let Some(connection) = self.connections.get_mut(&socket) else {
            // It went away while it was being welcomed.
            self.index.remove(&key, self.number);
            self.router.leave(key, socket);
            return;
        };
        let local = self.channels.entry(key.clone()).or_default();
        local.last = local.last.max(welcome.position);
        let (outbox, wire) = (Arc::clone(&connection.outbox), connection.wire);
        let was_counted = !connection.channels.insert(key.clone());
        if was_counted {
            self.index.remove(&key, self.number);
        }
        let encoded = wire.encode(&key.channel, delivery);
        match &joined.role {
            Role::Subscriber(_) => {
                let role = joined.role.clone();
                let subscriber = Subscriber { outbox: Arc::clone(&outbox), wire, role };
                // As what it came first holds, as in the channel's roster.
                local.subscribers.entry(socket).or_insert(subscriber);
            }
            Role::SignedIn => local.add_other(socket, Role::SignedIn),
            Role::Watcher => {
                local.add_other(socket, Role::Watcher);
                if let Some(user) = key.channel.user() {
                    outbox.signal(Signal::Watched { user, is_online: welcome.is_online });
                }
            }
        }
        if let Some(frame) = encoded
            && outbox.push(frame) == Ok(true)
        {
            self.unflushed.push(outbox);
        }
    }

    fn tell_subscribers(
        &mut self,
        key: &ChannelKey,
        delivery: &Delivery,
        except: Option<SocketId>,
    ) -> (usize, usize) {
        let Some(local) = self.channels.get(key) else {
            return (0, 0);
        };
        let mut encoded: [Option<Option<Bytes>>; Wire::COUNT] = [const { None }; Wire::COUNT];
        let (mut sent, mut bytes) = (0, 0);
        for (socket, subscriber) in &local.subscribers {
            if except == Some(*socket) {
                continue;
            }
            let wire = subscriber.wire;
            let frame = encoded[wire.index()]
                .get_or_insert_with(|| wire.encode(&key.channel, delivery))
                .clone();
            if let Some(frame) = frame {
                sent += 1;
                bytes += frame.len();
                let outbox = &subscriber.outbox;
                let given = if self.is_gathering {
                    outbox.push(frame).map(|is_first| {
                        if is_first {
                            self.unflushed.push(Arc::clone(outbox));
                        }
                    })
                } else {
                    outbox.send(frame)
                };
                if given == Err(Full::Lagging) {
                    self.metrics.lagging(&key.app);
                }
            }
        }
        (sent, bytes)
    }

    fn tell_watchers(&self, key: &ChannelKey, is_online: bool) {
        let Some(user) = key.channel.user() else {
            return;
        };
        for socket in self.in_role(key, &Role::Watcher) {
            if let Some(connection) = self.connections.get(&socket) {
                let user = user.clone();
                connection.outbox.signal(Signal::Watched { user, is_online });
            }
        }
    }

    fn terminate(&self, key: &ChannelKey) {
        for socket in self.in_role(key, &Role::SignedIn) {
            if let Some(connection) = self.connections.get(&socket) {
                connection.outbox.signal(Signal::Terminated);
            }
        }
    }

    fn in_role(&self, key: &ChannelKey, role: &Role) -> Vec<SocketId> {
        let others = self.channels.get(key).map(|local| &local.others);
        let chosen = others.into_iter().flatten().filter(|(_, roles)| roles.contains(role));
        chosen.map(|(socket, _)| *socket).collect()
    }

    fn resync(&self, key: &ChannelKey) -> (Vec<Joined>, Position) {
        let Some(local) = self.channels.get(key) else {
            return (Vec::new(), Position::default());
        };
        let subscribers = local.subscribers.iter().map(|(&socket, subscriber)| {
            let role = subscriber.role.clone();
            Joined { socket, role }
        });
        let others = local.others.iter().flat_map(|(&socket, roles)| {
            roles.iter().cloned().map(move |role| Joined { socket, role })
        });
        (subscribers.chain(others).collect(), local.last)
    }

    fn forget_subscriber(&mut self, key: &ChannelKey, socket: SocketId) {
        let Some(local) = self.channels.get_mut(key) else {
            return;
        };
        if local.subscribers.swap_remove(&socket).is_none() || local.others.contains_key(&socket) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.channels.remove(key);
        }
        self.index.remove(key, self.number);
        self.forget_if_empty(key);
    }

    fn detach(&mut self, socket: SocketId) {
        let Some(connection) = self.connections.remove(&socket) else {
            return;
        };
        for key in connection.channels {
            if let Some(local) = self.channels.get_mut(&key) {
                local.subscribers.swap_remove(&socket);
                local.others.swap_remove(&socket);
            }
            self.index.remove(&key, self.number);
            self.forget_if_empty(&key);
            self.router.leave(key, socket);
        }
    }

    fn forget_if_empty(&mut self, key: &ChannelKey) {
        let local = self.channels.get(key);
        if local.is_some_and(|local| local.subscribers.is_empty() && local.others.is_empty()) {
            self.channels.remove(key);
        }
    }
}
