//! What the plain WebSocket and the long poll say: one JSON object for each thing that happened.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::channel::{Cached, Delivery, Joined, Member, Published, Recovery, Role, Welcome};
use crate::event::{Data, Origin, Publication};
use crate::json::{push_string, quoted};
use crate::name::ChannelName;

/// A time as RFC 3339, in UTC and with milliseconds.
#[must_use]
pub fn timestamp(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    // What is after the year 9999 cannot be written.
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let text = time.format(&Rfc3339).unwrap_or_default();
    format!("{}.{:03}Z", text.trim_end_matches('Z'), unix_ms % 1000)
}

/// An object without its opening brace, so that a place can be put before it: `"type":…}`.
#[must_use]
pub fn open(kind: &str, channel: &ChannelName, more: &str) -> String {
    format!(r#""type":"{kind}","channel":{}{more}}}"#, quoted(channel.as_str()))
}

/// What a polling client is told of a delivery, as one object without its opening brace: a place that
/// it goes on from is said with each. Of a channel in which it goes on it is told nothing but what is
/// new.
#[must_use]
pub fn poll(channel: &ChannelName, delivery: &Delivery) -> Option<String> {
    let Delivery::Welcome { joined: Joined { role: Role::Subscriber(_), .. }, welcome } = delivery
    else {
        return deliver(channel, delivery).pop();
    };
    match (&welcome.recovery, &welcome.cached) {
        (Some(Recovery::Whole(_)), _) => None,
        (Some(Recovery::Gap), _) => Some(open("gap", channel, "")),
        (None, Some(Cached::Hit(publication))) => {
            let cached = format!(r#","cached":{{{}"#, published(channel, publication));
            Some(open("subscribed", channel, &(state(welcome) + &cached)))
        }
        (None, _) => Some(open("subscribed", channel, &state(welcome))),
    }
}

/// What a subscriber is told of a delivery, as objects without their opening brace.
#[must_use]
pub fn deliver(channel: &ChannelName, delivery: &Delivery) -> Vec<String> {
    match delivery {
        Delivery::Welcome { joined, welcome } => match joined.role {
            Role::Subscriber(_) => subscribed(channel, welcome),
            Role::SignedIn | Role::Watcher => Vec::new(),
        },
        Delivery::Published(publication) => vec![published(channel, publication)],
        Delivery::MemberAdded { member: added, .. } => {
            vec![open("member_added", channel, &format!(r#","user":{}"#, member(added)))]
        }
        Delivery::MemberRemoved { user, .. } => {
            let user = format!(r#","user":{{"id":{}}}"#, quoted(user.as_str()));
            vec![open("member_removed", channel, &user)]
        }
        Delivery::SubscriptionCount(count) => {
            vec![open("subscription_count", channel, &format!(r#","count":{count}"#))]
        }
        Delivery::Online(_)
        | Delivery::Terminate
        | Delivery::Notified(_)
        | Delivery::Resumed(_) => Vec::new(),
    }
}

fn subscribed(channel: &ChannelName, welcome: &Welcome) -> Vec<String> {
    let mut objects = vec![open("subscribed", channel, &state(welcome))];
    if let Some(Cached::Hit(publication)) = &welcome.cached {
        objects.push(published(channel, publication));
    }
    objects
}

/// The state of a channel as someone finds it who comes.
fn state(welcome: &Welcome) -> String {
    let mut more =
        format!(r#","position":"{}","subscribers":{}"#, welcome.position, welcome.subscribers);
    if let Some(members) = &welcome.members {
        let _ = write!(more, r#","members":{}"#, self::members(members));
    }
    if let Some(recovery) = &welcome.recovery {
        let _ = write!(more, r#","recovered":{}"#, *recovery != Recovery::Gap);
    }
    more
}

/// The answer to a publish: its place, and how many subscribers there were at that place.
#[must_use]
pub fn accepted(channel: &ChannelName, id: Option<&str>, published: &Published) -> String {
    let id = id.map(|id| format!(r#","id":{}"#, quoted(id))).unwrap_or_default();
    let place = published.position.map(|at| format!(r#","position":"{at}","seq":{}"#, at.offset.0));
    let more =
        format!("{id}{},\"deliveredTo\":{}", place.unwrap_or_default(), published.subscribers);
    open("published", channel, &more)
}

/// Members as a JSON list.
#[must_use]
pub fn members(members: &[Arc<Member>]) -> String {
    let members: Vec<String> = members.iter().map(|one| member(one)).collect();
    format!("[{}]", members.join(","))
}

/// The event: `data` is what was published, as JSON where it is JSON (as pusher-js reads it), else as
/// a string; `id` and `seq` say its place, `from` the user who published it, if a user did.
fn published(channel: &ChannelName, publication: &Publication) -> String {
    let draft = &publication.draft;
    let (Data::Text(payload) | Data::Json(payload)) = &draft.event.data;
    let mut out = String::with_capacity(payload.len() + payload.len() / 8 + 192);
    out.push_str(r#""type":"event","channel":"#);
    push_string(&mut out, channel.as_str());
    out.push_str(r#","event":"#);
    push_string(&mut out, draft.event.name.as_str());
    out.push_str(r#","data":"#);
    push_data(&mut out, &draft.event.data);
    out.push_str(r#","from":"#);
    push_from(&mut out, &draft.origin);
    out.push_str(r#","seq":"#);
    out.push_str(&publication.position.offset.0.to_string());
    out.push_str(r#","position":""#);
    out.push_str(&publication.position.to_string());
    out.push_str(r#"","timestamp":""#);
    out.push_str(&timestamp(publication.unix_ms));
    out.push_str("\"}");
    out
}

/// Adds who published an event as a JSON value: a user, else a connection; null for a back end.
pub fn push_from(out: &mut String, origin: &Origin) {
    match origin {
        Origin::Client { user: Some(user), .. } | Origin::User { user } => {
            push_string(out, user.as_str());
        }
        Origin::Client { socket, user: None } => push_string(out, &socket.to_string()),
        Origin::Api { .. } | Origin::Notice => out.push_str("null"),
    }
}

/// Adds an event's data as a JSON value.
pub fn push_data(out: &mut String, data: &Data) {
    match data {
        Data::Json(json) => out.push_str(json),
        Data::Text(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => out.push_str(json.get()),
            Err(_) => push_string(out, text),
        },
    }
}

/// A member as a JSON object.
#[must_use]
pub fn member(member: &Member) -> String {
    let info = member.info.as_deref().map(|info| format!(r#","info":{info}"#));
    format!(r#"{{"id":{}{}}}"#, quoted(member.user.as_str()), info.unwrap_or_default())
}
