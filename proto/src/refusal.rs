//! Why something was refused: a value that names the rule, the limit and what was found.
//!
//! Every door makes its own code and status from it, in one table each; the text is the same
//! everywhere. A refusal means that nothing was changed.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{NameError, SocketIdError};

/// A request that was understood and turned down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name breaks its rule.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A socket id breaks its form.
    #[error("{0}")]
    SocketId(#[from] SocketIdError),
    /// Something is larger than its limit.
    #[error("{what} has {bytes} bytes, the limit is {limit} (limit `{setting}`)")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        bytes: usize,
        /// The most it may have.
        limit: usize,
        /// The key under `[apps.limits]`.
        setting: &'static str,
    },
    /// There are more of something than its limit.
    #[error("{what}: the limit is {limit} (limit `{setting}`)")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        limit: usize,
        /// The key under `[apps.limits]`.
        setting: &'static str,
    },
    /// Something comes faster than its limit.
    #[error("{what}: the limit is {limit} a second (limit `{setting}`)")]
    RateLimited {
        /// What comes too fast.
        what: &'static str,
        /// How many a second are allowed.
        limit: u32,
        /// The key under `[apps.limits]`.
        setting: &'static str,
        /// When one more would be accepted.
        retry_after: Duration,
    },
    /// The presence channel has as many members as it may.
    #[error("the channel has {limit} members, which is its limit (limit `presence_members`)")]
    PresenceFull {
        /// The most members a channel may have.
        limit: usize,
    },
    /// A signature is missing or wrong.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The app has this feature turned off.
    #[error("{feature}: not enabled for this app (set `{setting} = true`)")]
    Disabled {
        /// The feature.
        feature: &'static str,
        /// The key under `[[apps]]`.
        setting: &'static str,
    },
    /// The app narrows its channels' names, and this is none of them.
    #[error("this app has no channels of that name")]
    UnknownChannel,
    /// The rule that is broken, where no limit is involved.
    #[error("{0}")]
    Rule(&'static str),
    /// The input cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The channel's owner cannot answer now. Something may have been done: retry with a key.
    #[error("the channel's owner did not answer in time; try again")]
    Unavailable,
    /// The idempotency key was used before, for something else.
    #[error("the idempotency key was used within the last 120 s with another body")]
    KeyReused,
}

/// The rule for whoever would hold a session.
pub(crate) const SESSION_IS_HELD: &str = "another connection holds the session";

/// The rule for events of clients.
pub(crate) const NOT_SUBSCRIBED: &str = "you are not subscribed to this channel";
const CHANNELS: (&str, &str) = ("live channels of this app", "channels");

impl Refusal {
    /// The app has as many live channels as it may.
    #[must_use]
    pub const fn channels_full(limit: usize) -> Self {
        Self::TooMany { what: CHANNELS.0, limit, setting: CHANNELS.1 }
    }
}

/// A refusal on its way to another node. Owners give few of them; the texts stay at home.
#[derive(Deserialize, Serialize)]
enum Shipped {
    Unavailable,
    KeyReused,
    NotSubscribed,
    PresenceFull(usize),
    ChannelsFull(usize),
    Other(String),
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shipped::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Refusal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shipped::deserialize(deserializer).map(Self::from)
    }
}

impl From<Refusal> for Shipped {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable => Self::Unavailable,
            Refusal::KeyReused => Self::KeyReused,
            Refusal::Rule(NOT_SUBSCRIBED) => Self::NotSubscribed,
            Refusal::PresenceFull { limit } => Self::PresenceFull(limit),
            Refusal::TooMany { what, limit, .. } if what == CHANNELS.0 => Self::ChannelsFull(limit),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Shipped> for Refusal {
    fn from(shipped: Shipped) -> Self {
        match shipped {
            Shipped::Unavailable => Self::Unavailable,
            Shipped::KeyReused => Self::KeyReused,
            Shipped::NotSubscribed => Self::Rule(NOT_SUBSCRIBED),
            Shipped::PresenceFull(limit) => Self::PresenceFull { limit },
            Shipped::ChannelsFull(limit) => Self::channels_full(limit),
            Shipped::Other(text) => Self::Malformed(text),
        }
    }
}
