//! What a Socket.IO client is told of its channels: events whose last argument, after what is here,
//! is the place that the client goes on from. The text lacks that argument and the closing bracket, and
//! the packet's beginning, which says the namespace.

use crate::channel::{Delivery, Recovery, Role};
use crate::event::{Data, Draft, Origin, Publication};
use crate::json::{push_string, quoted};
use crate::name::ChannelName;
use crate::plain::frame::{member, push_data, push_from};

/// This client has left a channel: its place from here on is one without it.
#[must_use]
pub fn left(channel: &ChannelName) -> String {
    event("unsubscribed", &format!(r#"{{"topic":{}}}"#, quoted(channel.as_str())))
}

/// Something was published that this client does not have.
#[must_use]
pub fn gap(channel: &ChannelName) -> String {
    event("gap", &format!(r#"{{"topic":{}}}"#, quoted(channel.as_str())))
}

/// The event for a delivery, if there is one.
#[must_use]
pub fn deliver(channel: &ChannelName, delivery: &Delivery) -> Option<String> {
    let topic = || quoted(channel.as_str());
    match delivery {
        Delivery::Published(publication) => match &publication.draft {
            Draft { origin: Origin::Notice, event: notice, .. } => {
                let (Data::Text(text) | Data::Json(text)) = &notice.data;
                Some(event("notification", text))
            }
            _ => Some(published(channel, publication)),
        },
        Delivery::Welcome { joined, welcome } => match (&joined.role, &welcome.recovery) {
            // From here on it has a place to go on from, which speaks of this channel too.
            (Role::Subscriber(_), None | Some(Recovery::Whole(_))) => {
                let count = welcome.subscribers;
                let data = format!(r#"{{"topic":{},"subscriberCount":{count}}}"#, topic());
                Some(event("subscribed", &data))
            }
            (Role::Subscriber(_), Some(Recovery::Gap)) => Some(gap(channel)),
            _ => None,
        },
        Delivery::MemberAdded { member: added, .. } => {
            let data = format!(r#"{{"topic":{},"user":{}}}"#, topic(), member(added));
            Some(event("member_added", &data))
        }
        Delivery::MemberRemoved { user, .. } => {
            let user = quoted(user.as_str());
            let data = format!(r#"{{"topic":{},"user":{{"id":{user}}}}}"#, topic());
            Some(event("member_removed", &data))
        }
        Delivery::SubscriptionCount(_)
        | Delivery::Online(_)
        | Delivery::Terminate
        | Delivery::Notified(_)
        | Delivery::Resumed(_) => None,
    }
}

/// `message` with its seven fields. `seq` grows by one with each event of the topic, `from` is the
/// user who published it (null for a back end), and `payload` is what was published, as JSON.
fn published(channel: &ChannelName, publication: &Publication) -> String {
    let draft = &publication.draft;
    let mut out = String::with_capacity(draft.event.data.bytes() + 224);
    out.push_str(r#"["message",{"id":""#);
    out.push_str(&format!("{:032x}", draft.id));
    out.push_str(r#"","topic":"#);
    push_string(&mut out, channel.as_str());
    out.push_str(r#","type":"#);
    push_string(&mut out, draft.event.name.as_str());
    out.push_str(r#","payload":"#);
    push_data(&mut out, &draft.event.data);
    out.push_str(r#","timestamp":"#);
    out.push_str(&publication.unix_ms.to_string());
    out.push_str(r#","from":"#);
    push_from(&mut out, &draft.origin);
    out.push_str(r#","seq":"#);
    out.push_str(&publication.position.offset.0.to_string());
    out.push('}');
    out
}

fn event(name: &str, data: &str) -> String {
    format!(r#"["{name}",{data}"#)
}
