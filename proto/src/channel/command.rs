//! What a channel is asked, what it answers, and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Draft, Publication};
use crate::http::webhook::Edge;
use crate::idempotency::RetryKey;
use crate::name::{RelayId, SocketId, UserId};
use crate::position::Position;
use crate::refusal::Refusal;

use super::Settings;

/// A user in a presence channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What the application signed about the user: a JSON value in its original spelling.
    pub info: Option<Arc<str>>,
    /// How long the user stays when this connection is lost, in milliseconds: it may be back by then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub grace_ms: u32,
}

impl Member {
    /// A member that is gone when its connection is.
    #[must_use]
    pub const fn new(user: UserId, info: Option<Arc<str>>) -> Self {
        Self { user, info, grace_ms: 0 }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// As what a connection joins a channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Role {
    /// Gets the publications. In a presence channel it is a member.
    Subscriber(Option<Arc<Member>>),
    /// Is signed in as the user whose own channel this is, or holds the session that it stands for.
    SignedIn,
    /// Wants to know whether the user whose own channel this is, is signed in anywhere.
    Watcher,
}

impl Role {
    /// As this, but the user stays for so long when the connection is lost.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        match self {
            Self::Subscriber(Some(member)) => {
                let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
                Self::Subscriber(Some(Arc::new(Member { grace_ms, ..Member::clone(&member) })))
            }
            other => other,
        }
    }
}

/// One connection in one channel, as its relay knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Joined {
    /// The connection.
    pub socket: SocketId,
    /// As what it is there.
    pub role: Role,
    /// The last publication that it has had, on another connection; none if it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Position>,
    /// That other connection, if it is known: what was published for all but it was its own. Only
    /// together with `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<SocketId>,
}

impl Joined {
    /// A connection that comes for the first time, or is in already.
    #[must_use]
    pub const fn new(socket: SocketId, role: Role) -> Self {
        Self { socket, role, since: None, was: None }
    }
}

/// What a channel is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Command {
    /// A connection joins in a role.
    Join {
        /// The relay that holds the connection.
        relay: RelayId,
        /// Who joins, and as what.
        joined: Joined,
    },
    /// A connection leaves as a subscriber.
    Unsubscribe {
        /// The relay that holds the connection.
        relay: RelayId,
        /// Who leaves.
        socket: SocketId,
    },
    /// A connection is gone: it leaves in every role. Its user may stay for a while: see
    /// [`Member::grace_ms`].
    Leave {
        /// The relay that held the connection.
        relay: RelayId,
        /// Who left.
        socket: SocketId,
    },
    /// Relays say what they have of this channel, to an owner that may know less, or more.
    Resync(Vec<Resync>),
    /// A relay lacks publications that came after `last`. Its connections stay as they are.
    Resume {
        /// The relay.
        relay: RelayId,
        /// The last publication that it delivered.
        last: Position,
    },
    /// A relay is gone with all its connections.
    RelayLost {
        /// The relay.
        relay: RelayId,
    },
    /// An event is to be published.
    Publish(Draft),
    /// Every connection signed in as this channel's user is to be closed; of a session, whoever holds
    /// it is to show that it lives.
    Terminate,
    /// The state of the channel is asked for.
    Inspect,
    /// The members of the channel are asked for.
    Members,
    /// Another node served this channel while the two did not see each other: the application is
    /// told again who is here, and of two cached events the later one is kept.
    Reunite(Branch),
    /// The app's configuration changed.
    Configure(Settings),
    /// The application has been told of the edge of this number, or it was given up.
    Told {
        /// The number.
        number: u64,
    },
    /// A deadline has come: see [`Channel::deadline`](super::Channel::deadline).
    Tick,
}

/// What another node's state of a channel leaves behind, when it goes on with this one's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Branch {
    /// What it had cached.
    pub cached: Option<Arc<Publication>>,
    /// Users of whom it had told the application that they are there.
    pub told: Vec<UserId>,
    /// Whether it had told the application that somebody is there.
    pub is_occupied: bool,
    /// The way that it came.
    pub way: Way,
}

/// How a state of a channel came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Way {
    /// Where each ownership ended, the present one last.
    pub ends: Vec<Position>,
    /// When something was last published, as far as that is remembered, in milliseconds since 1970.
    pub published_ms: u64,
}

impl Command {
    /// Whether it can change what another node would have to know to take the channel over.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        !matches!(self, Self::Terminate | Self::Inspect | Self::Members)
    }
}

/// What one part of a relay has of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Resync {
    /// The relay.
    pub relay: RelayId,
    /// For which of its connections the lists are complete.
    pub part: Part,
    /// Connections that were welcomed.
    pub joined: Vec<Joined>,
    /// Connections whose welcome has not come yet.
    pub joining: Vec<Joined>,
    /// The last publication that was delivered.
    pub last: Position,
    /// The last few publications as they were delivered: an owner that took over may lack them.
    pub tail: Vec<Arc<Publication>>,
}

impl Resync {
    /// A part of a relay that has nobody in the channel.
    #[must_use]
    pub fn nothing(relay: RelayId, part: Part) -> Self {
        let (joined, joining, tail) = (Vec::new(), Vec::new(), Vec::new());
        Self { relay, part, joined, joining, last: Position::default(), tail }
    }
}

/// A share of a relay's connections: those whose spread leaves `index` when divided by `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Part {
    /// Which share.
    pub index: u32,
    /// How many shares there are.
    pub of: u32,
}

impl Part {
    /// Whether a connection belongs to this share.
    #[must_use]
    pub const fn has(self, socket: SocketId) -> bool {
        socket.spread() % self.of as u64 == self.index as u64
    }
}

/// What a channel answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Reply {
    /// Done; the particulars travel through the relay, in order with the publications.
    Done,
    /// The event has its place.
    Published(Published),
    /// The state of the channel.
    Channel(Summary),
    /// The members, by user id.
    Members(Vec<Arc<Member>>),
    /// Nothing was done, and why.
    Refused(Refusal),
}

/// The answer to a publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Published {
    /// The place of the publication; none if nobody could ever see it and it was not stored.
    pub position: Option<Position>,
    /// Subscribers, at that place.
    pub subscribers: usize,
    /// Distinct members, at that place. 0 for channels without presence.
    pub members: usize,
}

/// The state of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Summary {
    /// Connections subscribed.
    pub subscribers: usize,
    /// Distinct members of a presence channel.
    pub members: usize,
    /// The last publication; none if the channel is not alive.
    pub position: Option<Position>,
    /// The remembered event of a cache channel and the seconds for which it is still remembered.
    pub cached: Option<(Arc<Publication>, u32)>,
    /// The nodes at which connections are signed in as the user of this channel, or hold its session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_in: Vec<RelayId>,
}

impl Summary {
    /// Whether anybody is there: a member who may come back for a while is.
    #[must_use]
    pub const fn is_occupied(&self) -> bool {
        self.subscribers > 0 || self.members > 0
    }
}

/// What a channel wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Give this to the relay: one copy, however many connections it is for.
    Relay {
        /// Where to.
        to: RelayId,
        /// What.
        delivery: Delivery,
    },
    /// Tell the application.
    Webhook(Edge),
    /// Keep the answer of a keyed publish that an earlier owner sequenced.
    Remember(Arc<RetryKey>, Published),
}

/// What a channel says to the connections of one relay. It is encoded there, once per wire format.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Delivery {
    /// To one connection: it is in.
    Welcome {
        /// Who joined, and as what.
        joined: Joined,
        /// What it needs to know to begin.
        welcome: Arc<Welcome>,
    },
    /// To all subscribers but the one excepted by its origin.
    Published(Arc<Publication>),
    /// To all subscribers but `except`: a user is here.
    MemberAdded {
        /// The user.
        member: Arc<Member>,
        /// The connection it came with.
        except: SocketId,
    },
    /// To all subscribers: a user is gone.
    MemberRemoved {
        /// The user.
        user: UserId,
        /// The user's description, which a relay adds that has told of the user.
        #[serde(skip)]
        info: Option<Arc<str>>,
    },
    /// To all subscribers: how many they are.
    SubscriptionCount(usize),
    /// To all watchers: the user of this channel came or went.
    Online(bool),
    /// To all connections signed in as the user of this channel: close. To whoever holds the session
    /// that it stands for: show that you live.
    Terminate,
    /// To all connections signed in as the user of this channel that are no subscribers: a
    /// notification, as JSON.
    Notified(Arc<str>),
    /// To a relay that said what it has: everything it lacked has been sent before this.
    Resumed(Arc<Resumed>),
}

/// How a channel goes on for a relay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Resumed {
    /// The last publication. A relay that has delivered less has lost something.
    pub position: Position,
    /// Members of a presence channel by user id.
    pub members: Option<Vec<Arc<Member>>>,
    /// Whether the user of the channel is signed in anywhere.
    pub is_online: bool,
    /// The relay has delivered what does not belong to the channel any more: another node had given
    /// it a place while the two did not see each other.
    pub is_diverged: bool,
}

/// What a connection is told when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Welcome {
    /// The last publication before the join; the connection gets everything after it.
    pub position: Position,
    /// Members of a presence channel by user id, the new one included.
    pub members: Option<Vec<Arc<Member>>>,
    /// What a cache channel remembers; in other channels none.
    pub cached: Option<Cached>,
    /// Subscribers, this one included.
    pub subscribers: usize,
    /// For watchers: whether the user is signed in.
    pub is_online: bool,
    /// What it has missed, if it said how far it had come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

impl Welcome {
    /// With what a connection has missed. If it gets all of that it has had the cached event, or gets
    /// it with the rest.
    #[must_use]
    pub(super) fn with(mut self, recovery: Option<Recovery>) -> Self {
        if matches!(recovery, Some(Recovery::Whole(_))) {
            self.cached = None;
        }
        Self { recovery, ..self }
    }
}

/// What a connection that comes back has missed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Recovery {
    /// All of it, in order.
    Whole(Vec<Arc<Publication>>),
    /// Nobody knows, or not all of it any more.
    Gap,
}

/// What a cache channel remembers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Cached {
    /// Its last published event.
    Hit(Arc<Publication>),
    /// Nothing.
    Miss,
}
