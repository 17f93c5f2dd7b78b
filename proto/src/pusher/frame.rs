//! Messages of the Pusher protocol: reading a client's, writing the server's.
//!
//! Which `data` is a JSON value and which is a string that holds JSON follows the protocol
//! reference: strict clients such as pysher decode the string.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::channel::{Cached, Delivery, Member, Recovery, Role, Welcome};
use crate::event::{Data, Origin, Publication};
use crate::json::{is_too_deep, push_string, quoted};
use crate::name::{ChannelName, SocketId, UserId};
use crate::refusal::Refusal;

use super::code::{ErrorCode, SubscriptionError};

/// Tells a subscriber that comes back that events are lost. Of Handbell's own; its name begins with
/// `pusher:` because pusher-js takes anything else on an encrypted channel for ciphertext.
const GAP: &str = "pusher:gap";

/// A client's message.
#[derive(Debug, Deserialize)]
pub struct ClientFrame<'a> {
    /// What it wants.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// For client events: where.
    #[serde(borrow, default)]
    pub channel: Option<Cow<'a, str>>,
    /// The particulars.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
}

/// The data of `pusher:subscribe`.
#[derive(Debug, Deserialize)]
pub struct Subscribe {
    /// The channel.
    pub channel: String,
    /// The auth string; pusher-js sends an empty one for public channels.
    #[serde(default)]
    pub auth: Option<String>,
    /// Who a presence member is.
    #[serde(default)]
    pub channel_data: Option<String>,
}

/// The data of `pusher:unsubscribe`.
#[derive(Debug, Deserialize)]
pub struct Unsubscribe {
    /// The channel.
    pub channel: String,
}

/// The data of `pusher:signin`.
#[derive(Debug, Deserialize)]
pub struct Signin {
    /// The auth string.
    pub auth: String,
    /// Who, as JSON text.
    pub user_data: String,
}

impl<'a> ClientFrame<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] or [`Refusal::Rule`], with what is wrong.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if is_too_deep(text) {
            return Err(Refusal::Rule("the message nests deeper than 64 levels"));
        }
        serde_json::from_str(text)
            .map_err(|error| Refusal::Malformed(format!("the message cannot be read: {error}")))
    }

    /// Reads the data, which is an object or a string that holds one.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], with what is wrong.
    pub fn data<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Refusal> {
        let malformed = |error: serde_json::Error| {
            Refusal::Malformed(format!("the data of {} cannot be read: {error}", self.event))
        };
        let text = self.data.map_or("null", RawValue::get);
        if text.starts_with('"') {
            let inner: String = serde_json::from_str(text).map_err(malformed)?;
            if is_too_deep(&inner) {
                return Err(Refusal::Rule("the data nests deeper than 64 levels"));
            }
            return serde_json::from_str(&inner).map_err(malformed);
        }
        serde_json::from_str(text).map_err(malformed)
    }
}

/// The first message on every connection. `activity_timeout` is in seconds and never 0: pusher-js
/// gives the handshake up without it.
#[must_use]
pub fn connection_established(socket: SocketId, activity_timeout: u64) -> String {
    let data = format!(r#"{{"socket_id":"{socket}","activity_timeout":{activity_timeout}}}"#);
    event("pusher:connection_established", None, &quoted(&data))
}

/// The answer to `pusher:ping`.
#[must_use]
pub fn pong() -> String {
    event("pusher:pong", None, "{}")
}

/// A question whether the client is there.
#[must_use]
pub fn ping() -> String {
    event("pusher:ping", None, "{}")
}

/// An error that concerns the connection, or one of its client events.
#[must_use]
pub fn error(code: u16, message: &str) -> String {
    let data = format!(r#"{{"code":{code},"message":{}}}"#, quoted(message));
    event("pusher:error", None, &data)
}

/// An error event for a refusal.
#[must_use]
pub fn refusal(code: ErrorCode, refusal: &Refusal) -> String {
    error(code as u16, &refusal.to_string())
}

/// A subscription was refused; the connection stays open. `channel` is as the client spelt it.
#[must_use]
pub fn subscription_error(channel: &str, refusal: &Refusal) -> String {
    let SubscriptionError { kind, status } = SubscriptionError::of(refusal);
    let message = quoted(&refusal.to_string());
    let data = format!(r#"{{"type":"{kind}","error":{message},"status":{status}}}"#);
    event("pusher:subscription_error", Some(channel), &data)
}

/// The signin was accepted. `user_data` is the text that was signed.
#[must_use]
pub fn signin_success(user_data: &str) -> String {
    let data = format!(r#"{{"user_data":{}}}"#, quoted(user_data));
    event("pusher:signin_success", None, &data)
}

/// Watched users who are or went online, and others who are or went offline.
#[must_use]
pub fn watchlist_events(online: &[UserId], offline: &[UserId]) -> String {
    let lists = [("online", online), ("offline", offline)];
    let events: Vec<String> = lists
        .iter()
        .filter(|(_, users)| !users.is_empty())
        .map(|(name, users)| format!(r#"{{"name":"{name}","user_ids":{}}}"#, ids(users.iter())))
        .collect();
    let data = format!(r#"{{"events":[{}]}}"#, events.join(","));
    event("pusher_internal:watchlist_events", None, &data)
}

/// A notification that is of no channel.
#[must_use]
pub fn notification(text: &str) -> String {
    event("notification", None, &quoted(text))
}

/// The messages that a subscriber gets for a delivery, in order.
#[must_use]
pub fn deliver(channel: &ChannelName, delivery: &Delivery) -> Vec<String> {
    let internal =
        |name: &str, data: String| vec![event(name, Some(channel.as_str()), &quoted(&data))];
    match delivery {
        Delivery::Welcome { joined, welcome } => match &joined.role {
            Role::Subscriber(_) => subscribed(channel, welcome),
            Role::SignedIn | Role::Watcher => Vec::new(),
        },
        Delivery::Published(publication) => vec![published(channel, publication)],
        Delivery::MemberAdded { member, .. } => {
            let user = quoted(member.user.as_str());
            let info = member.info.as_deref().map(|info| format!(r#","user_info":{info}"#));
            let data = format!(r#"{{"user_id":{user}{}}}"#, info.unwrap_or_default());
            internal("pusher_internal:member_added", data)
        }
        Delivery::MemberRemoved { user, .. } => {
            let data = format!(r#"{{"user_id":{}}}"#, quoted(user.as_str()));
            internal("pusher_internal:member_removed", data)
        }
        Delivery::SubscriptionCount(count) => {
            let data = format!(r#"{{"subscription_count":{count}}}"#);
            internal("pusher_internal:subscription_count", data)
        }
        Delivery::Online(_)
        | Delivery::Terminate
        | Delivery::Notified(_)
        | Delivery::Resumed(_) => Vec::new(),
    }
}

fn subscribed(channel: &ChannelName, welcome: &Welcome) -> Vec<String> {
    let data = welcome.members.as_deref().map_or_else(|| "{}".to_owned(), presence);
    let name = "pusher_internal:subscription_succeeded";
    let mut messages = vec![event(name, Some(channel.as_str()), &quoted(&data))];
    if welcome.recovery == Some(Recovery::Gap) {
        messages.push(event(GAP, Some(channel.as_str()), &quoted("{}")));
    }
    match &welcome.cached {
        Some(Cached::Hit(publication)) => messages.push(published(channel, publication)),
        Some(Cached::Miss) => {
            let channel = quoted(channel.as_str());
            messages.push(format!(r#"{{"event":"pusher:cache_miss","channel":{channel}}}"#));
        }
        None => {}
    }
    messages
}

fn presence(members: &[Arc<Member>]) -> String {
    let hash: Vec<String> = members
        .iter()
        .map(|m| format!("{}:{}", quoted(m.user.as_str()), m.info.as_deref().unwrap_or("null")))
        .collect();
    let ids = ids(members.iter().map(|member| &member.user));
    let (hash, count) = (hash.join(","), members.len());
    format!(r#"{{"presence":{{"ids":{ids},"hash":{{{hash}}},"count":{count}}}}}"#)
}

fn published(channel: &ChannelName, publication: &Publication) -> String {
    let draft = &publication.draft;
    let (Data::Text(payload) | Data::Json(payload)) = &draft.event.data;
    let mut out = String::with_capacity(payload.len() + payload.len() / 8 + 96);
    out.push_str(r#"{"event":"#);
    push_string(&mut out, draft.event.name.as_str());
    out.push_str(r#","channel":"#);
    push_string(&mut out, channel.as_str());
    out.push_str(r#","data":"#);
    match &draft.event.data {
        Data::Text(text) => push_string(&mut out, text),
        Data::Json(json) => out.push_str(json),
    }
    if let Origin::Client { user: Some(user), .. } = &draft.origin {
        out.push_str(r#","user_id":"#);
        push_string(&mut out, user.as_str());
    }
    out.push('}');
    out
}

fn event(name: &str, channel: Option<&str>, data: &str) -> String {
    let name = quoted(name);
    match channel {
        Some(channel) => {
            format!(r#"{{"event":{name},"channel":{},"data":{data}}}"#, quoted(channel))
        }
        None => format!(r#"{{"event":{name},"data":{data}}}"#),
    }
}

fn ids<'a>(users: impl Iterator<Item = &'a UserId>) -> String {
    let ids: Vec<String> = users.map(|user| quoted(user.as_str())).collect();
    format!("[{}]", ids.join(","))
}
