//! One life of a node: the machines that the real node runs, and what lies between them there: a
//! mailbox for each channel, a queue for each relay shard, links, questions that are asked again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proto::channel::{Channel, Command, Delivery, Joined, Reply};
use proto::cluster::custody::{Custody, Effect};
use proto::cluster::link::Link;
use proto::cluster::membership::Membership;
use proto::cluster::message::{Ack, Ask};
use proto::cluster::slot::Slot;
use proto::cluster::view::{Member, View};
use proto::http::webhook::Edge;
use proto::relay::Local;
use proto::{ChannelKey, Moment, RelayId, SocketId};

/// Relay shards of a node.
pub(super) const SHARDS: u32 = 2;

pub(super) type Effects = Vec<Effect<Request, Waiter>>;

/// How a running channel is reached.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) actor: u64,
    pub(super) sent: u64,
}

/// A question, and the way back.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) slot: Slot,
    pub(super) ask: Ask,
    pub(super) replier: Replier,
}

/// Where an answer goes.
#[derive(Clone, Debug)]
pub(super) enum Replier {
    /// A question that was asked on this node.
    Here(u64),
    Peer(RelayId, u64),
}

/// Who waits for a second node.
#[derive(Clone, Debug)]
pub(super) enum Waiter {
    Publish { replier: Replier, reply: Reply },
    Edges(Vec<Edge>),
}

/// What a channel's mailbox holds.
#[derive(Clone, Debug)]
pub(super) enum Mail {
    Command(Command, Option<Ack>, Option<Replier>),
    Seed,
    /// To be handed to the task of this number.
    Hand(u64),
    Tick,
}

#[derive(Debug)]
pub(super) struct Actor {
    pub(super) key: ChannelKey,
    pub(super) machine: Channel,
    pub(super) mailbox: VecDeque<Mail>,
    pub(super) handled: u64,
    pub(super) is_awake: bool,
    pub(super) armed: Option<Moment>,
}

/// What a relay shard's queue holds.
#[derive(Clone, Debug)]
pub(super) enum ToShard {
    Join(ChannelKey, Joined, u64),
    Refused(ChannelKey, Joined),
    Unsubscribe(ChannelKey, SocketId, u64),
    Detach(SocketId),
    Deliver(ChannelKey, Delivery),
    /// For the task of this number.
    Gather(Vec<Slot>, RelayId, u64),
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) queue: VecDeque<ToShard>,
    pub(super) is_awake: bool,
    pub(super) locals: BTreeMap<ChannelKey, Local<SocketId>>,
    pub(super) sockets: BTreeMap<SocketId, Vec<ChannelKey>>,
}

/// A link to a peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) link: Link,
    pub(super) session: Option<u64>,
    pub(super) asks: BTreeMap<u64, Replier>,
    pub(super) is_reset: bool,
    pub(super) is_driven: bool,
}

/// A question that was asked here and is asked again until its deadline.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) slot: Slot,
    pub(super) ask: Ask,
    pub(super) is_repeatable: bool,
    pub(super) deadline: Moment,
    pub(super) then: Then,
}

/// Who is told of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The session of a client, which has asked to be in a channel.
    Join(usize, ChannelKey, Joined),
    /// The session of a client, which has asked to be out.
    Unsubscribe(usize, ChannelKey),
    /// A publisher.
    Publish(usize, u64),
    Nobody,
}

/// Answering a claim, in steps, as a task does.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) to: RelayId,
    pub(super) claims: Vec<(Slot, u64, bool)>,
    pub(super) stopping: BTreeMap<Slot, (usize, Vec<(ChannelKey, Channel)>)>,
    pub(super) current: Vec<(Slot, u64)>,
    pub(super) stale: Vec<(Slot, u64)>,
    pub(super) shards_left: u32,
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) me: RelayId,
    pub(super) membership: Membership,
    pub(super) members: Vec<Member>,
    pub(super) view: Option<Arc<View>>,
    pub(super) peers: BTreeMap<RelayId, Peer>,
    pub(super) custody: BTreeMap<Slot, Custody<Handle, Request, Waiter>>,
    pub(super) owners: BTreeMap<Slot, u64>,
    pub(super) actors: BTreeMap<u64, Actor>,
    pub(super) shards: Vec<Shard>,
    pub(super) askings: BTreeMap<u64, Asking>,
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) webhooks: VecDeque<Edge>,
    pub(super) is_draining: bool,
    /// Until when it may serve, where only a majority may.
    pub(super) lease_ends: Moment,
    pub(super) has_lease: bool,
    pub(super) ticks: u64,
    pub(super) numbers: u64,
}

impl Life {
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn shard_of(socket: SocketId) -> usize {
        usize::try_from(socket.spread() % u64::from(SHARDS)).unwrap()
    }
}
