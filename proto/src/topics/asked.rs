//! What a client asks for, and what it is answered.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::app::App;
use crate::door::Post;
use crate::event::{Data, Event, Priority};
use crate::json::quoted;
use crate::name::ChannelName;
use crate::plain::code;
use crate::refusal::Refusal;
use crate::visitor::Visitor;

/// The name of the events that clients of this door publish.
const EVENT: &str = "message";

/// What a client says of itself when it connects.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Auth {
    pub(super) token: Option<String>,
    pub(super) pid: Option<String>,
    pub(super) offset: Option<String>,
}

impl Auth {
    /// What cannot be read says nothing.
    pub(super) fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }
}

/// The one argument of a client's events. Fields that say nothing to a server are not read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    topic: Option<String>,
    message_id: Option<String>,
    timestamp: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<Box<RawValue>>,
    ack_required: Option<bool>,
    priority: Option<String>,
    ttl: Option<u64>,
}

/// A null that stands there is something that is there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Reads the arguments of a client's event: an object, and nothing else that counts.
pub(super) fn argument<'a, T: Deserialize<'a>>(arguments: &'a str) -> Result<T, Refusal> {
    let arguments: Vec<&RawValue> = serde_json::from_str(arguments).unwrap_or_default();
    let first = arguments.first().map_or("null", |first| first.get());
    serde_json::from_str(first)
        .map_err(|error| Refusal::Malformed(format!("the message cannot be read: {error}")))
}

impl Message {
    pub(super) fn topic(&self) -> Result<&str, Refusal> {
        self.topic.as_deref().ok_or(Refusal::Rule("a `topic` is missing"))
    }

    /// The client's own time, as it wrote it.
    pub(super) fn timestamp(&self) -> &str {
        self.timestamp.as_deref().map_or("null", RawValue::get)
    }

    fn priority(&self) -> Result<Priority, Refusal> {
        match self.priority.as_deref() {
            None | Some("normal") => Ok(Priority::Normal),
            Some("low") => Ok(Priority::Low),
            Some("high") => Ok(Priority::High),
            Some(_) => Err(Refusal::Rule("the `priority` is low, normal or high")),
        }
    }

    /// What is to be published.
    pub(super) fn post(&self, visitor: &Visitor, app: &App) -> Result<Post, Refusal> {
        let user = visitor.user().ok_or(Refusal::Unauthorized(code::PERMISSION_DENIED))?.clone();
        let payload = self.payload.as_deref().ok_or(Refusal::Rule("a `payload` is missing"))?.get();
        app.check_event_data(payload.len())?;
        Post::check_id(self.message_id.as_deref())?;
        let event = Event { name: app.event_name(EVENT)?, data: Data::Text(payload.into()) };
        Ok(Post {
            user,
            event,
            id: self.message_id.clone(),
            // What is wanted for longer than 49 days is wanted for longer than any history.
            ttl_ms: u32::try_from(self.ttl.unwrap_or(0)).unwrap_or(u32::MAX),
            priority: self.priority()?,
        })
    }
}

/// A request that the client waits for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) channel: Option<ChannelName>,
    pub(super) name: String,
    /// The number of the acknowledgement that it wants.
    pub(super) ack: Option<u64>,
    /// Its own id, if it wants the event `ack`.
    pub(super) id: Option<String>,
}

impl Asked {
    pub(super) fn new(name: &str, message: Option<&Message>, ack: Option<u64>) -> Self {
        let wanting = message.filter(|message| message.ack_required != Some(false));
        let id = wanting.and_then(|message| message.message_id.clone());
        Self { channel: None, name: name.to_owned(), ack, id }
    }

    /// The event `ack`.
    pub(super) fn event(&self, status: &str, more: &str) -> Option<String> {
        let id = quoted(self.id.as_deref()?);
        Some(format!(r#"{{"id":{id},"type":{},{status}{more}}}"#, quoted(&self.name)))
    }
}

/// The fields of an answer: the status, and what else there is.
pub(super) fn status(answer: Result<String, &Refusal>) -> (String, String) {
    let refusal = match answer {
        Ok(more) => return (r#""status":"success""#.to_owned(), more),
        Err(refusal) => refusal,
    };
    let retry = match refusal {
        Refusal::RateLimited { retry_after, .. } => {
            format!(r#","retryAfterMs":{}"#, retry_after.as_micros().div_ceil(1000))
        }
        _ => String::new(),
    };
    let status = format!(r#""status":"error","error":"{}""#, code::word(refusal));
    (status, format!(r#","message":{}{retry}"#, quoted(&refusal.to_string())))
}
