//! The relay: this node's subscribers of every channel. A delivery is encoded once for each wire
//! format and put into the outbox of each subscriber.
//!
//! It is divided into shards by **connection**, so that a channel with many subscribers keeps all
//! cores busy by itself and the order of one connection's events holds without a lock. A shard is a
//! task with a bounded queue; a channel that produces faster than its subscribers' shards can write
//! waits. The relay holds no truth: it is the only writer of its own connections, and the owner of a
//! channel is told when one is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::channel::{Delivery, Joined, Reply};
use proto::cluster::slot::{SLOTS, Slot};
use proto::cursor::Cursor;
use proto::door::Close;
use proto::relay::Standing;
use proto::wire::Wire;
use proto::{AppId, ChannelKey, Refusal, RelayId, SocketId};
use tokio::sync::{mpsc, oneshot};

use crate::outbox::Outbox;
use crate::router::Asked;

mod everyone;
mod index;
mod shard;

pub use shard::{Shard, ShardParts};

use index::Index;

/// Shards at most: a channel's are kept as bits of one word. More cores are busy with other things.
pub const SHARDS_MAX: usize = 64;
/// Messages that may wait for one shard.
const SHARD_QUEUE: usize = 1_024;

/// What a shard is told.
#[derive(Debug)]
pub enum ToShard {
    /// A connection is here.
    Attach {
        /// Which.
        attached: Attached,
        /// Where its frames go.
        outbox: Arc<Outbox>,
    },
    /// A connection goes on from somewhere, before it joins anything.
    GoesOn {
        /// Its id.
        socket: SocketId,
        /// How far it had come in the channels that it is about to join.
        cursor: Cursor,
    },
    /// A ping with a number is to be sent to a connection, and its session told how far it had come.
    Mark {
        /// Its id.
        socket: SocketId,
    },
    /// A connection is gone.
    Detach {
        /// Its id.
        socket: SocketId,
        /// Whether its client does not come back.
        is_for_good: bool,
    },
    /// Everything before this has been dealt with.
    Reached {
        /// Where that is said.
        reply: oneshot::Sender<()>,
    },
    /// A connection wants to be in a channel.
    Join {
        /// The channel.
        key: ChannelKey,
        /// Who, and as what.
        joined: Joined,
        /// Where the pending answer of the owner goes.
        reply: oneshot::Sender<Asked>,
    },
    /// The owner did not let a connection in, or did not say in time that it did.
    Refused {
        /// The channel.
        key: ChannelKey,
        /// Who, and as what.
        joined: Joined,
        /// Where it goes how the connection stands now.
        reply: oneshot::Sender<Standing>,
    },
    /// A connection wants to be a subscriber no longer.
    Unsubscribe {
        /// The channel.
        key: ChannelKey,
        /// Who.
        socket: SocketId,
        /// Where the pending answer of the owner goes.
        reply: oneshot::Sender<Asked>,
    },
    /// A channel has something for its connections here.
    Deliver {
        /// The channel.
        key: ChannelKey,
        /// What.
        delivery: Delivery,
    },
    /// How many subscribers of a channel are here, by their door?
    Transports {
        /// The channel.
        key: ChannelKey,
        /// Where the answer goes.
        reply: oneshot::Sender<Transports>,
    },
    /// A connection of an app is to be ended.
    Terminate {
        /// The app.
        app: AppId,
        /// An id that its client knows.
        connection: Arc<str>,
        /// Where it goes whether it was here.
        reply: oneshot::Sender<bool>,
    },
    /// All connections of an app are told a notification.
    Notify {
        /// The app.
        app: AppId,
        /// The notification, as JSON.
        text: Arc<str>,
        /// Where it goes how many they are.
        reply: oneshot::Sender<u64>,
    },
    /// A node claims slots and wants to know who is in their channels here.
    Gather {
        /// The slots.
        slots: Arc<[Slot]>,
        /// The claimant.
        to: RelayId,
        /// Told when the claimant has been sent everything.
        reply: oneshot::Sender<()>,
    },
    /// Close so many connections.
    Close {
        /// How many at most.
        connections: usize,
        /// How.
        close: Close,
        /// Where it goes how many were closed and how many remain.
        reply: oneshot::Sender<Closed>,
    },
    /// A fault, to see what is left standing.
    #[cfg(test)]
    Panic,
}

/// A connection, or a further socket of one, as the relay knows it.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its app.
    pub app: AppId,
    /// Its id.
    pub socket: SocketId,
    /// How its frames are encoded.
    pub wire: Wire,
    /// Whether it proves what it has had, to be gone on with from there.
    pub is_resumable: bool,
    /// Of a further socket of a connection, which of them it is.
    pub namespace: Option<Arc<str>>,
}

impl Attached {
    /// A connection that ends when its socket does.
    #[must_use]
    pub const fn new(app: AppId, socket: SocketId, wire: Wire) -> Self {
        Self { app, socket, wire, is_resumable: false, namespace: None }
    }
}

/// What came of closing connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Those that were told to close.
    pub closed: usize,
    /// Those that are still there, those that were told included.
    pub remaining: usize,
}

/// Why a connection was not let into a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct NotJoined {
    /// What the channel or the way to it says.
    pub refusal: Refusal,
    /// Whether the connection is in nevertheless, by an earlier join.
    pub is_in: bool,
}

impl From<Refusal> for NotJoined {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, is_in: false }
    }
}

/// Numbers of subscribers, by [`Wire::index`].
pub type Transports = [u64; Wire::COUNT];

/// The handle of this node's relay.
#[derive(Debug)]
pub struct Relay {
    id: RelayId,
    shards: Box<[mpsc::Sender<ToShard>]>,
    index: Arc<Index>,
    /// By slot: the incarnation of the node whose claim was answered last; 0 before the first.
    owners: Box<[AtomicU64]>,
}

impl Relay {
    /// A relay with so many shards ([`SHARDS_MAX`] at most), and what their tasks need to run.
    #[must_use]
    pub fn new(id: RelayId, shards: usize) -> (Arc<Self>, Vec<ShardParts>) {
        let shards = shards.clamp(1, SHARDS_MAX);
        let index = Arc::new(Index::new(shards));
        let (senders, parts) = (0..shards)
            .map(|number| {
                let (sender, receiver) = mpsc::channel(SHARD_QUEUE);
                (sender, ShardParts { number, receiver, index: Arc::clone(&index) })
            })
            .unzip();
        let shards: Vec<_> = senders;
        let owners = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        (Arc::new(Self { id, shards: shards.into(), index, owners }), parts)
    }

    /// Which relay this is, for owners.
    #[must_use]
    pub const fn id(&self) -> &RelayId {
        &self.id
    }

    /// Tells of a new connection. Returns once its deliveries have somewhere to go.
    pub async fn attach(&self, attached: Attached, outbox: Arc<Outbox>) {
        self.tell(self.shard_of(attached.socket), ToShard::Attach { attached, outbox }).await;
    }

    /// Marks how far a connection has come: its session hears the number of a ping and the place. It
    /// does not if the shard is too busy.
    pub fn mark(&self, socket: SocketId) {
        let shard = self.shard_of(socket);
        if self.shards[shard].try_send(ToShard::Mark { socket }).is_err() {
            tracing::debug!(shard, "relay shard is too busy for a mark");
        }
    }

    /// Tells how far a new connection had come in the channels that it is about to join: then every
    /// place that it is told speaks of all of them, also before they have answered.
    pub async fn go_on(&self, socket: SocketId, cursor: Cursor) {
        self.tell(self.shard_of(socket), ToShard::GoesOn { socket, cursor }).await;
    }

    /// Tells of a connection that is gone; its channels are told in turn. Members may stay for a while
    /// unless it is for good.
    pub async fn detach(&self, socket: SocketId, is_for_good: bool) {
        self.tell(self.shard_of(socket), ToShard::Detach { socket, is_for_good }).await;
    }

    /// Waits until a connection has been given everything that has come for it so far.
    pub async fn reached(&self, socket: SocketId) {
        let (reply, reached) = oneshot::channel();
        self.tell(self.shard_of(socket), ToShard::Reached { reply }).await;
        // A shard that has stopped gives nothing any more.
        let _ = reached.await;
    }

    /// Lets a connection into a channel, if the channel's owner does.
    ///
    /// # Errors
    /// Why it was not let in.
    pub async fn join(&self, key: ChannelKey, joined: Joined) -> Result<(), NotJoined> {
        let (reply, asked) = oneshot::channel();
        let shard = self.shard_of(joined.socket);
        let message = ToShard::Join { key: key.clone(), joined: joined.clone(), reply };
        self.tell(shard, message).await;
        let answer = asked.await.unwrap_or_else(|_| Asked::unavailable()).answer().await;
        let refusal = match answer {
            Ok(Reply::Refused(refusal)) => refusal,
            Ok(_) => return Ok(()),
            Err(error) => error.into(),
        };
        let (reply, standing) = oneshot::channel();
        self.tell(shard, ToShard::Refused { key, joined, reply }).await;
        match standing.await {
            Ok(Standing::Welcomed) => Ok(()),
            Ok(Standing::Before) => Err(NotJoined { refusal, is_in: true }),
            Ok(Standing::Out) | Err(_) => Err(NotJoined { refusal, is_in: false }),
        }
    }

    /// Takes a connection out of a channel. That always succeeds.
    pub async fn unsubscribe(&self, key: ChannelKey, socket: SocketId) {
        let (reply, asked) = oneshot::channel();
        let channel = key.channel.clone();
        self.tell(self.shard_of(socket), ToShard::Unsubscribe { key, socket, reply }).await;
        let answer = asked.await.unwrap_or_else(|_| Asked::unavailable()).answer().await;
        if let Err(error) = answer {
            // Here it is out already; the owner hears it with the next list of who is in.
            tracing::warn!(?channel, %socket, %error, "a channel could not be told of an unsubscription");
        }
    }

    /// Gives a delivery to the shards that it concerns, in the order of the calls. What comes from
    /// a node that another has succeeded as the owner is dropped.
    pub async fn deliver(&self, from: &RelayId, key: &ChannelKey, delivery: Delivery) {
        let owner = self.owners[Slot::of(key).index()].load(Ordering::Acquire);
        if owner != 0 && owner != from.incarnation {
            return;
        }
        match &delivery {
            Delivery::Welcome { joined, .. } => {
                let shard = self.shard_of(joined.socket);
                self.tell(shard, ToShard::Deliver { key: key.clone(), delivery }).await;
            }
            _ => {
                let mut touched = self.index.shards(key);
                while touched != 0 {
                    let shard = touched.trailing_zeros() as usize;
                    touched &= touched - 1;
                    let (key, delivery) = (key.clone(), delivery.clone());
                    self.tell(shard, ToShard::Deliver { key, delivery }).await;
                }
            }
        }
    }

    /// Nothing of a slot is taken from anyone but this owner from now on.
    pub fn register(&self, slot: Slot, owner: &RelayId) {
        self.owners[slot.index()].store(owner.incarnation, Ordering::Release);
    }

    /// Sends the claimant of slots what every shard has of their channels. It was registered as their
    /// owner before.
    pub async fn gather(&self, slots: Arc<[Slot]>, to: &RelayId) {
        for shard in 0..self.shards.len() {
            let (reply, done) = oneshot::channel();
            let (slots, to) = (Arc::clone(&slots), to.clone());
            self.tell(shard, ToShard::Gather { slots, to, reply }).await;
            if done.await.is_err() {
                tracing::error!(shard, "a relay shard did not say what it has");
            }
        }
    }

    /// Closes up to so many connections, of all shards alike.
    pub async fn close(&self, connections: usize, close: &Close) -> Closed {
        let mut all = Closed::default();
        for shard in 0..self.shards.len() {
            let (reply, answer) = oneshot::channel();
            let left = connections.saturating_sub(all.closed);
            let connections = left.div_ceil(self.shards.len() - shard);
            self.tell(shard, ToShard::Close { connections, close: close.clone(), reply }).await;
            let Closed { closed, remaining } = answer.await.unwrap_or_default();
            all.closed += closed;
            all.remaining += remaining;
        }
        all
    }

    #[cfg(test)]
    pub(crate) async fn inject_panics(&self) {
        for shard in 0..self.shards.len() {
            self.tell(shard, ToShard::Panic).await;
        }
    }

    fn shard_of(&self, socket: SocketId) -> usize {
        #[allow(clippy::cast_possible_truncation)]
        let spread = socket.spread() as usize;
        spread % self.shards.len()
    }

    async fn tell(&self, shard: usize, message: ToShard) {
        if self.shards[shard].send(message).await.is_err() {
            tracing::debug!(shard, "relay shard has stopped");
        }
    }
}
