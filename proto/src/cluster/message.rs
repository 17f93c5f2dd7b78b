//! What nodes say to each other. A message is a kind and a body; the body is a MessagePack array to
//! whose end later versions may append. The bytes of every version are kept as golden files
//! (`proto/tests/golden`), and an unknown kind is answered with [`Message::Unknown`], never dropped.

use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::budget::Doer;
use crate::channel::{Command, Delivery, Part, Reply, Resync};
use crate::event::Publication;
use crate::name::{AppId, ChannelKey, ChannelName, RelayId};
use crate::quota::{Grant, Usage};
use crate::refusal::Refusal;
use crate::time::{Moment, Now};

use super::replication::{Mark, Record};
use super::slot::Slot;
use super::takeover::Estate;
use super::view::Phase;
use super::visit::{Visit, Visited};

/// The kind of [`Message::Ask`].
const ASK: u8 = 1;
/// The kind of [`Message::Deliver`].
const DELIVER: u8 = 3;
/// Room for a message to begin with: most events fit in.
const USUAL_BYTES: usize = 512;

/// When a publish is answered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// The node that took the request has checked it.
    Accepted,
    /// The owner has given it its place and sent it on its way.
    Sequenced,
    /// A second node holds it as well.
    #[default]
    Replicated,
}

impl Ack {
    /// The word for it in headers and configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sequenced => "sequenced",
            Self::Replicated => "replicated",
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A question to the owner of a slot. It is answered with the same number.
    Ask(u64, Ask),
    /// An answer.
    Answer(u64, Answer),
    /// From an owner to a relay, for the connections of a channel.
    Deliver(ChannelKey, Delivery),
    /// The sender owns the slot in its view.
    Claim(Slot),
    /// To a claimant: what the sender's relay has of a channel.
    Resync(ChannelKey, Resync),
    /// To a claimant: what the sender holds of the slot, at this moment of its time.
    Yield(Slot, Moment, Box<Estate>),
    /// To a claimant: that was all.
    Yielded(Slot),
    /// To those who yielded: the slot is held by two nodes again, or there is no second node; what
    /// they keep of it may go.
    Settled(Slot),
    /// From the owner of a slot to its successor.
    Replicate(Slot, Mark, Now, Box<Record>),
    /// The successor has everything of the slot up to this mark.
    Replicated(Slot, Mark),
    /// The sender does not believe that the receiver owns the slot.
    NotOwner(Slot, Mark),
    /// The sender does not know this kind of message.
    Unknown(u8),
    /// To one that has not answered a claim: it does not hold any more.
    Withdraw(Slot),
    /// To a claimant: this part of the sender's relay has spoken of all channels of these slots in
    /// which it has somebody.
    Listed(Vec<Slot>, Part),
    /// To those who yielded: the sender serves the slot with what they gave.
    Taken(Slot),
    /// How far the sender has come in its life, and who its members are: gossip says the first too,
    /// and takes longer.
    Sees(Phase, Vec<RelayId>),
    /// From the owner of a slot to its successor, which has connections of the channel: a
    /// [`Message::Replicate`] of the publish and a [`Message::Deliver`] of the publication in one.
    Published(Mark, ChannelKey, Arc<Publication>),
    /// A [`Message::Replicated`] for each of these slots.
    Confirmed(Vec<(Slot, Mark)>),
    /// To the node that has a session. It is answered with the same number, which may take as long as
    /// the client waits.
    Visit(u64, Visit),
    /// Whoever made this [`Message::Visit`] has gone before it was answered.
    Left(u64),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Ask {
    /// To a channel.
    Channel {
        /// Which.
        key: ChannelKey,
        /// What.
        command: Command,
        /// When to answer. None is the best that the cluster can do.
        ack: Option<Ack>,
    },
    /// To the slot of an idempotency key: does it belong to this request?
    Claim {
        /// The app.
        app: AppId,
        /// The key.
        key: String,
        /// What distinguishes the request.
        fingerprint: u64,
    },
    /// To the slot of an app's quota: what this node uses and wants.
    Lease(AppId, Usage),
    /// To any node: which channels of an app does it own?
    List(ListQuery),
    /// To the owner of a user's slot: a part of a budget that is so many a second.
    Spend(Doer, u32),
    /// To any node: how many subscribers of a channel are connected to it, by their door?
    Transports(ChannelKey),
    /// To any node: end a connection of an app, by an id that its client knows.
    Terminate(AppId, String),
    /// To any node: tell all connections of an app a notification, as JSON.
    Notify(AppId, Arc<str>),
}

/// Which channels are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListQuery {
    /// The app.
    pub app: AppId,
    /// What their names begin with.
    pub prefix: String,
}

/// An occupied channel in a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Listed {
    /// Its name.
    pub channel: ChannelName,
    /// Connections subscribed.
    pub subscribers: usize,
    /// Distinct members.
    pub members: usize,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Answer {
    /// The channel's, and the acknowledgement that was reached.
    Reply(Reply, Ack),
    /// The key belongs to the request.
    Claimed,
    /// What may be used.
    Granted(Grant),
    /// The occupied channels of the node that was asked, and how many slots it serves.
    Listed(Vec<Listed>, u16),
    /// A session's.
    Visited(Visited),
    /// A part of a budget: so many deeds; if none, after how many microseconds there will be one.
    Part(u32, u64),
    /// Subscribers at the node that was asked, by [`Wire::index`](crate::wire::Wire::index).
    Transports(Vec<u64>),
    /// Whether the connection was at the node that was asked.
    Terminated(bool),
    /// So many connections of the node that was asked were told.
    Notified(u64),
    /// Nothing was done: the asked node does not serve the slot.
    NotOwner,
    /// It cannot be said whether anything was done.
    Unavailable,
    /// Nothing was done, and why.
    Refused(Refusal),
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The kind is not known.
    #[error("message kind {0} is not known to this version")]
    Kind(u8),
    /// The body is not what its kind says.
    #[error("a message of kind {kind} cannot be read: {source}")]
    Body {
        /// The kind.
        kind: u8,
        /// What is wrong.
        source: rmp_serde::decode::Error,
    },
}

impl Message {
    /// The kind and the body.
    ///
    /// # Panics
    /// Never: every message can be written.
    #[must_use]
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Ask(id, ask) => (ASK, pack(&(id, ask))),
            Self::Answer(id, answer) => (2, pack(&(id, answer))),
            Self::Deliver(key, delivery) => (DELIVER, pack(&(key, delivery))),
            Self::Claim(slot) => (4, pack(&(slot,))),
            Self::Resync(key, resync) => (5, pack(&(key, resync))),
            Self::Yield(slot, at, estate) => (6, pack(&(slot, at, estate))),
            Self::Yielded(slot) => (7, pack(&(slot,))),
            Self::Settled(slot) => (8, pack(&(slot,))),
            Self::Replicate(slot, mark, now, record) => (9, pack(&(slot, mark, now, record))),
            Self::Replicated(slot, mark) => (10, pack(&(slot, mark))),
            Self::NotOwner(slot, mark) => (11, pack(&(slot, mark))),
            Self::Unknown(kind) => (12, pack(&(kind,))),
            Self::Withdraw(slot) => (13, pack(&(slot,))),
            Self::Listed(slots, part) => (14, pack(&(slots, part))),
            Self::Taken(slot) => (15, pack(&(slot,))),
            Self::Sees(phase, members) => (16, pack(&(phase, members))),
            Self::Published(mark, key, publication) => (17, pack(&(mark, key, publication))),
            Self::Confirmed(marks) => (18, pack(&(marks,))),
            Self::Visit(id, visit) => (19, pack(&(id, visit))),
            Self::Left(id) => (20, pack(&(id,))),
        }
    }

    /// The slot that it is about, if it is about one and [`Custody`](super::custody::Custody) deals
    /// with it.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Resync(key, _) => Some(Slot::of(key)),
            Self::Claim(slot)
            | Self::Yield(slot, ..)
            | Self::Yielded(slot)
            | Self::Settled(slot)
            | Self::Replicate(slot, ..)
            | Self::Replicated(slot, _)
            | Self::NotOwner(slot, _)
            | Self::Withdraw(slot)
            | Self::Taken(slot) => Some(*slot),
            Self::Ask(..)
            | Self::Answer(..)
            | Self::Deliver(..)
            | Self::Listed(..)
            | Self::Sees(..)
            | Self::Published(..)
            | Self::Confirmed(_)
            | Self::Visit(..)
            | Self::Left(_)
            | Self::Unknown(_) => None,
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let read = Body { kind, body };
        Ok(match kind {
            ASK => read.read().map(|(id, ask)| Self::Ask(id, ask))?,
            2 => read.read().map(|(id, answer)| Self::Answer(id, answer))?,
            DELIVER => read.read().map(|(key, delivery)| Self::Deliver(key, delivery))?,
            4 => read.read().map(|(slot,)| Self::Claim(slot))?,
            5 => read.read().map(|(key, resync)| Self::Resync(key, resync))?,
            6 => read.read().map(|(slot, at, estate)| Self::Yield(slot, at, estate))?,
            7 => read.read().map(|(slot,)| Self::Yielded(slot))?,
            8 => read.read().map(|(slot,)| Self::Settled(slot))?,
            9 => read.read().map(|(slot, mark, now, r)| Self::Replicate(slot, mark, now, r))?,
            10 => read.read().map(|(slot, mark)| Self::Replicated(slot, mark))?,
            11 => read.read().map(|(slot, mark)| Self::NotOwner(slot, mark))?,
            12 => read.read().map(|(kind,)| Self::Unknown(kind))?,
            13 => read.read().map(|(slot,)| Self::Withdraw(slot))?,
            14 => read.read().map(|(slots, part)| Self::Listed(slots, part))?,
            15 => read.read().map(|(slot,)| Self::Taken(slot))?,
            16 => read.read().map(|(phase, members)| Self::Sees(phase, members))?,
            17 => read.read().map(|(mark, key, event)| Self::Published(mark, key, event))?,
            18 => read.read().map(|(marks,)| Self::Confirmed(marks))?,
            19 => read.read().map(|(id, visit)| Self::Visit(id, visit))?,
            20 => read.read().map(|(id,)| Self::Left(id))?,
            _ => return Err(DecodeError::Kind(kind)),
        })
    }
}

/// The number of a question that cannot be read otherwise, so that it can be answered.
#[must_use]
pub fn number_of_ask(kind: u8, body: &[u8]) -> Option<u64> {
    let (number, _) = rmp_serde::from_slice::<(u64, IgnoredAny)>(body).ok()?;
    (kind == ASK).then_some(number)
}

/// The body of [`Message::Deliver`], for one delivery to many relays.
#[must_use]
pub fn deliver(key: &ChannelKey, delivery: &Delivery) -> (u8, Vec<u8>) {
    (DELIVER, pack(&(key, delivery)))
}

fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    rmp_serde::encode::write(&mut bytes, value).expect("a message can always be written");
    bytes
}

struct Body<'a> {
    kind: u8,
    body: &'a [u8],
}

impl Body<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let kind = self.kind;
        rmp_serde::from_slice(self.body).map_err(|source| DecodeError::Body { kind, source })
    }
}
