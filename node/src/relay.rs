//! The relay: this node's subscribers of every channel. A delivery is encoded once for each wire
//! format and put into the outbox of each subscriber.
//!
//! It is divided into shards by **connection**, so that a channel with many subscribers keeps all
//! cores busy by itself and the order of one connection's events holds without a lock. A shard is a
//! task with a bounded queue; a channel that produces faster than its subscribers' shards can write
//! waits. The relay holds no truth: it is the only writer of its own connections, and the owner of a
//! channel is told when one is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::channel::{Delivery, Joined};
use proto::cluster::slot::Slot;
use proto::wire::Wire;
use proto::{ChannelKey, Position, RelayId, SocketId};
use tokio::sync::{mpsc, oneshot};

use crate::outbox::Outbox;

mod shard;

pub use shard::{Shard, ShardParts};

/// Shards at most: a channel's are kept as bits of one word. More cores are busy with other things.
pub const SHARDS_MAX: usize = 64;
/// Messages that may wait for one shard.
const SHARD_QUEUE: usize = 1_024;

/// What a shard is told.
#[derive(Debug)]
pub enum ToShard {
    /// A connection is here.
    Attach {
        /// Its id.
        socket: SocketId,
        /// Where its frames go.
        outbox: Arc<Outbox>,
        /// How its frames are encoded.
        wire: Wire,
    },
    /// A connection is gone.
    Detach {
        /// Its id.
        socket: SocketId,
    },
    /// A channel has something for its connections here.
    Deliver {
        /// The channel.
        key: ChannelKey,
        /// What.
        delivery: Delivery,
    },
    /// A new owner of a channel asks who is in it here.
    Resync {
        /// The channel.
        key: ChannelKey,
        /// Where the answer goes.
        reply: oneshot::Sender<(Vec<Joined>, Position)>,
    },
    /// The node drains: close so many connections.
    Drain {
        /// How many at most.
        connections: usize,
        /// Where the number of those that remain goes.
        reply: oneshot::Sender<usize>,
    },
    /// A fault, to see what is left standing.
    #[cfg(test)]
    Panic,
}

/// The handle of this node's relay.
#[derive(Debug)]
pub struct Relay {
    id: RelayId,
    shards: Box<[mpsc::Sender<ToShard>]>,
    index: Arc<Index>,
}

impl Relay {
    /// A relay with so many shards ([`SHARDS_MAX`] at most), and what their tasks need to run.
    #[must_use]
    pub fn new(id: RelayId, shards: usize) -> (Self, Vec<ShardParts>) {
        let shards = shards.clamp(1, SHARDS_MAX);
        let index = Arc::new(Index::new(shards));
        let (senders, parts) = (0..shards)
            .map(|number| {
                let (sender, receiver) = mpsc::channel(SHARD_QUEUE);
                (sender, ShardParts { number, receiver, index: Arc::clone(&index) })
            })
            .unzip();
        let shards: Vec<_> = senders;
        (Self { id, shards: shards.into(), index }, parts)
    }

    /// Which relay this is, for owners.
    #[must_use]
    pub const fn id(&self) -> &RelayId {
        &self.id
    }

    /// Tells of a new connection. Returns once its deliveries have somewhere to go.
    pub async fn attach(&self, socket: SocketId, outbox: Arc<Outbox>, wire: Wire) {
        self.tell(self.shard_of(socket), ToShard::Attach { socket, outbox, wire }).await;
    }

    /// Tells of a connection that is gone; its channels are told in turn.
    pub async fn detach(&self, socket: SocketId) {
        self.tell(self.shard_of(socket), ToShard::Detach { socket }).await;
    }

    /// Gives a delivery to the shards that it concerns, in the order of the calls.
    pub async fn deliver(&self, key: &ChannelKey, delivery: Delivery) {
        match &delivery {
            Delivery::Welcome { joined, .. } => {
                let shard = self.shard_of(joined.socket);
                self.index.add(key, shard);
                self.tell(shard, ToShard::Deliver { key: key.clone(), delivery }).await;
            }
            Delivery::Farewell { socket } => {
                let shard = self.shard_of(*socket);
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

    /// Asks every shard who is in a channel here.
    pub async fn resync(&self, key: &ChannelKey) -> Vec<(Vec<Joined>, Position)> {
        let mut answers = Vec::new();
        for shard in 0..self.shards.len() {
            let (reply, answer) = oneshot::channel();
            self.tell(shard, ToShard::Resync { key: key.clone(), reply }).await;
            answers.extend(answer.await);
        }
        answers
    }

    /// Closes up to `per_shard` connections of every shard and returns how many remain.
    pub async fn drain(&self, per_shard: usize) -> usize {
        let mut remaining = 0;
        for shard in 0..self.shards.len() {
            let (reply, answer) = oneshot::channel();
            self.tell(shard, ToShard::Drain { connections: per_shard, reply }).await;
            remaining += answer.await.unwrap_or_default();
        }
        remaining
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

/// Which shards have connections in a channel: how many, counted from the moment a welcome is on its
/// way, so that nothing published after it can miss the shard.
#[derive(Debug)]
struct Index {
    shards: usize,
    parts: Box<[Mutex<Counts>]>,
}

/// How many connections each shard has, by channel.
type Counts = HashMap<ChannelKey, Box<[u32]>>;

impl Index {
    const PARTS: usize = 64;

    fn new(shards: usize) -> Self {
        let parts = (0..Self::PARTS).map(|_| Mutex::default()).collect();
        Self { shards, parts }
    }

    fn add(&self, key: &ChannelKey, shard: usize) {
        let mut part = self.part(key);
        match part.get_mut(key) {
            Some(counts) => counts[shard] += 1,
            None => {
                let mut counts = vec![0; self.shards].into_boxed_slice();
                counts[shard] = 1;
                part.insert(key.clone(), counts);
            }
        }
    }

    fn remove(&self, key: &ChannelKey, shard: usize) {
        let mut part = self.part(key);
        if let Some(counts) = part.get_mut(key) {
            counts[shard] = counts[shard].saturating_sub(1);
            if counts.iter().all(|&count| count == 0) {
                part.remove(key);
            }
        }
    }

    /// The shards that a channel touches, one bit each.
    fn shards(&self, key: &ChannelKey) -> u64 {
        let part = self.part(key);
        let counts = part.get(key).map_or(&[][..], |counts| &counts[..]);
        let bits = counts.iter().enumerate();
        bits.fold(0, |bits, (shard, &count)| bits | u64::from(count > 0) << shard)
    }

    fn part(&self, key: &ChannelKey) -> MutexGuard<'_, Counts> {
        let part = &self.parts[Slot::of(key).index() % Self::PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
