//! Webhooks: the seven kinds, their bodies and their signature.
//!
//! Source: the Pusher Channels webhook reference. `Content-Type` is exactly `application/json`,
//! `X-Pusher-Key` and `X-Pusher-Signature` (HMAC-SHA256 of the body, in hex) stand in the headers.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::app::{App, Webhook};
use crate::cluster::slot::StableHash;
use crate::event::{Data, Event};
use crate::name::{AppId, ChannelName, EventName, SocketId, UserId};
use crate::position::Epoch;

use super::signature::sign;

/// The kinds of webhook events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first subscriber came.
    ChannelOccupied,
    /// The last subscriber left, and nobody returned within 3 s.
    ChannelVacated,
    /// A user came to a presence channel.
    MemberAdded,
    /// A user left a presence channel and did not return within 3 s.
    MemberRemoved,
    /// A client event was accepted.
    ClientEvent,
    /// Someone subscribed to a cache channel that remembered nothing.
    CacheMiss,
    /// The number of subscribers changed.
    SubscriptionCount,
}

impl Kind {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];
}

/// What makes an edge the same edge when it is told again, by whichever node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct EdgeId {
    /// The ownership of the channel under which it happened.
    pub epoch: Epoch,
    /// Its number within the channel: larger is later.
    pub number: u64,
}

/// Something that happened in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Which one it is.
    pub id: EdgeId,
    /// Where.
    pub channel: ChannelName,
    /// What.
    pub happening: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Happening {
    /// The first subscriber came.
    ChannelOccupied,
    /// The last subscriber left.
    ChannelVacated,
    /// A user came.
    MemberAdded {
        /// Who.
        #[serde(serialize_with = "as_text")]
        user_id: UserId,
    },
    /// A user left.
    MemberRemoved {
        /// Who.
        #[serde(serialize_with = "as_text")]
        user_id: UserId,
    },
    /// A client published.
    ClientEvent {
        /// The event's name.
        #[serde(serialize_with = "as_text")]
        event: EventName,
        /// Its payload, as a text.
        data: Arc<str>,
        /// The connection it came from.
        #[serde(serialize_with = "as_text")]
        socket_id: SocketId,
        /// Who that is, in presence channels.
        #[serde(serialize_with = "as_optional_text", skip_serializing_if = "Option::is_none")]
        user_id: Option<UserId>,
    },
    /// A cache channel remembered nothing.
    CacheMiss,
    /// The number of subscribers changed.
    SubscriptionCount {
        /// To what.
        subscription_count: usize,
    },
}

fn as_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

#[allow(clippy::ref_option)] // The signature is serde's.
fn as_optional_text<S: Serializer>(
    value: &Option<UserId>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(UserId::as_str).serialize(serializer)
}

impl Happening {
    /// A client event, with its payload as the text that a client would have sent.
    #[must_use]
    pub fn client_event(event: &Event, socket_id: SocketId, user_id: Option<UserId>) -> Self {
        let data = match &event.data {
            Data::Text(text) => Arc::clone(text),
            // A JSON string becomes its content; any other JSON value stays as it was spelt.
            Data::Json(json) => match serde_json::from_str::<String>(json) {
                Ok(text) => text.into(),
                Err(_) => Arc::clone(json),
            },
        };
        Self::ClientEvent { event: event.name.clone(), data, socket_id, user_id }
    }

    /// Which kind this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::ChannelOccupied => Kind::ChannelOccupied,
            Self::ChannelVacated => Kind::ChannelVacated,
            Self::MemberAdded { .. } => Kind::MemberAdded,
            Self::MemberRemoved { .. } => Kind::MemberRemoved,
            Self::ClientEvent { .. } => Kind::ClientEvent,
            Self::CacheMiss => Kind::CacheMiss,
            Self::SubscriptionCount { .. } => Kind::SubscriptionCount,
        }
    }
}

impl Edge {
    /// Whether it is a coming or going, which is told until it is known to have been heard.
    #[must_use]
    pub const fn is_turn(&self) -> bool {
        matches!(
            self.happening.kind(),
            Kind::ChannelOccupied | Kind::ChannelVacated | Kind::MemberAdded | Kind::MemberRemoved
        )
    }

    /// Its id as the application sees it: the same however often it is told, 32 hex digits.
    #[must_use]
    pub fn text_id(&self, app: &AppId) -> String {
        let hash = |salt: u8| {
            let mut hash = StableHash::default();
            hash.write(&[salt]);
            hash.write(app.as_str().as_bytes());
            hash.write(&[0]);
            hash.write(self.channel.as_str().as_bytes());
            let EdgeId { epoch, number } = self.id;
            for part in [epoch.birth, epoch.incarnation, number] {
                hash.write(&part.to_le_bytes());
            }
            hash.finish()
        };
        format!("{:016x}{:016x}", hash(0), hash(1))
    }
}

impl Webhook {
    /// Whether this webhook is told about such an edge.
    #[must_use]
    pub fn wants(&self, edge: &Edge) -> bool {
        self.events.contains(&edge.happening.kind())
            && edge.channel.as_str().starts_with(&self.channel_prefix)
            && edge.channel.as_str().ends_with(&self.channel_suffix)
    }
}

/// One event in its final form, ready to be put into a body.
///
/// # Panics
/// Never: an edge is always JSON.
#[must_use]
pub fn event_json(app: &AppId, edge: &Edge) -> Box<RawValue> {
    #[derive(Serialize)]
    struct EventJson<'a> {
        #[serde(flatten)]
        happening: &'a Happening,
        channel: &'a str,
        /// Ours: which edge this is, and its place among the channel's edges.
        id: String,
        epoch: String,
        seq: u64,
    }
    let event = EventJson {
        happening: &edge.happening,
        channel: edge.channel.as_str(),
        id: edge.text_id(app),
        epoch: edge.id.epoch.to_string(),
        seq: edge.id.number,
    };
    serde_json::value::to_raw_value(&event).expect("an edge is always JSON")
}

/// The body that carries these events. `time_ms` is when the first of them happened, and the same
/// in every retry.
///
/// # Panics
/// Never: the events are JSON already.
#[must_use]
pub fn body(time_ms: u64, events: &[Box<RawValue>]) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        time_ms: u64,
        events: &'a [Box<RawValue>],
    }
    serde_json::to_string(&Body { time_ms, events }).expect("the events are JSON already")
}

/// The value of `X-Pusher-Signature` for a body.
#[must_use]
pub fn signature(app: &App, body: &str) -> String {
    let secret = app.secrets.first().map_or("", |secret| secret.expose());
    sign(secret, body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppId {
        AppId::parse("app").unwrap()
    }

    #[test]
    fn the_worked_example_of_the_documents_signs_the_same() {
        let edge = Edge {
            id: EdgeId { epoch: Epoch::default(), number: 1 },
            channel: ChannelName::parse("private-room").unwrap(),
            happening: Happening::ChannelOccupied,
        };
        let body = body(1_700_000_000_123, &[event_json(&app(), &edge)]);
        let expected = r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"private-room","id":"38a9094a559d567c53a36e4a5adaf9f8","epoch":"0-0","seq":1}]}"#;
        assert_eq!(body, expected);
        let documented = r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"private-room"}]}"#;
        assert_eq!(
            sign("s3cr3t-for-the-spec", documented.as_bytes()),
            "07537e77ecbe59a34c8924acb7396070626cd4bf4134e299da8e77d26254de15"
        );
    }

    #[test]
    fn a_client_event_carries_its_text_and_its_user() {
        let event = Event {
            name: EventName::parse("client-x").unwrap(),
            data: Data::Json(r#"{"a":1}"#.into()),
        };
        let user = UserId::parse("u7").unwrap();
        let edge = Edge {
            id: EdgeId { epoch: Epoch::default(), number: 1 },
            channel: ChannelName::parse("presence-room").unwrap(),
            happening: Happening::client_event(&event, SocketId::parse("1.2").unwrap(), Some(user)),
        };
        let expected = r#"{"name":"client_event","event":"client-x","data":"{\"a\":1}","socket_id":"1.2","user_id":"u7","channel":"presence-room","id":"cc6a4c4a02ef9628ab20746742ac767d","epoch":"0-0","seq":1}"#;
        assert_eq!(event_json(&app(), &edge).get(), expected);
    }
}
