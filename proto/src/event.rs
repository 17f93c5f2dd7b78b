//! What is said on a channel: an [`Event`] as published, and a [`Publication`] once it has a place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::idempotency::RetryKey;
use crate::name::{EventName, SocketId, UserId};
use crate::position::Position;
use crate::time::Moment;

/// An event's payload. It is never parsed and never changed on its way through.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Data {
    /// A text; the Pusher HTTP API publishes these. Delivered as a JSON string with this content.
    Text(#[serde(deserialize_with = "shared")] Arc<str>),
    /// A JSON value in its original spelling; client events carry these. Delivered as it is.
    Json(#[serde(deserialize_with = "shared")] Arc<str>),
}

impl Data {
    /// Size as limits count it: bytes of the text or of the JSON value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
        }
    }
}

/// Reads a text in one copy, where serde makes two.
fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    struct Text;
    impl de::Visitor<'_> for Text {
        type Value = Arc<str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<str>, E> {
            Ok(text.into())
        }
    }
    deserializer.deserialize_str(Text)
}

/// A name and a payload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Event {
    /// What happened.
    pub name: EventName,
    /// The particulars, opaque to the server.
    pub data: Data,
}

/// Who published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Origin {
    /// A back end, through the HTTP API; `except` is the connection that shall not hear it.
    Api {
        /// The connection whose action caused the event, if it asked not to hear of it.
        except: Option<SocketId>,
    },
    /// A connected client, which never hears its own event.
    Client {
        /// Its connection.
        socket: SocketId,
        /// Who it is in this channel, filled in by the owner and never by the client.
        user: Option<UserId>,
    },
    /// A user whose token allows it, through a door of tokens. It hears its own event.
    User {
        /// Who, as the token says.
        user: UserId,
    },
    /// A back end, as a notification: a door that has a word for it shows it as one.
    Notice,
}

impl Origin {
    /// The connection that does not get the publication.
    #[must_use]
    pub const fn except(&self) -> Option<SocketId> {
        match self {
            Self::Api { except } => *except,
            Self::Client { socket, .. } => Some(*socket),
            Self::User { .. } | Self::Notice => None,
        }
    }
}

/// How urgent the publisher says an event is: which of those that wait for a slow connection goes
/// first when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Priority {
    /// Can be done without.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Finds room where others find none.
    High,
}

/// What a publisher asks to be published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Draft {
    /// A unique id, given by the node that took the request.
    pub id: u128,
    /// What is said.
    pub event: Event,
    /// By whom.
    pub origin: Origin,
    /// Milliseconds after which no subscriber wants it any more; 0 is never.
    pub ttl_ms: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// Under which a repetition of it gets the first answer.
    pub retry: Option<Arc<RetryKey>>,
}

impl Draft {
    /// What a session leaves to whoever goes on with it.
    ///
    /// # Panics
    /// Never: the name is one.
    #[must_use]
    pub fn record(id: u128, record: &str) -> Self {
        let name = EventName::parse("record").expect("it is a name");
        let event = Event { name, data: Data::Text(record.into()) };
        let (origin, priority) = (Origin::Api { except: None }, Priority::default());
        Self { id, event, origin, ttl_ms: 0, priority, retry: None }
    }
}

/// An event that the channel's owner has accepted and given its place in the channel's order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Publication {
    /// What was asked to be published.
    pub draft: Draft,
    /// Its place.
    pub position: Position,
    /// Wall clock of the owner when it was accepted, in ms since the Unix epoch.
    pub unix_ms: u64,
    /// Monotonic time of the owner when it was accepted.
    pub accepted: Moment,
}

impl Publication {
    /// From when on nobody wants it any more, in the time of `accepted`.
    #[must_use]
    pub fn expires(&self) -> Option<Moment> {
        let ttl = Duration::from_millis(self.draft.ttl_ms.into());
        (!ttl.is_zero()).then(|| self.accepted + ttl)
    }

    /// Whether nobody wants it any more, in the time of `accepted`.
    #[must_use]
    pub fn has_expired(&self, now: Moment) -> bool {
        self.expires().is_some_and(|expires| now >= expires)
    }
}
