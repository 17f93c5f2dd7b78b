//! What a client of Laravel Echo is told of its channels: `[event, channel, data]`, without the packet's
//! beginning, which says the namespace.

use crate::channel::{Cached, Delivery, Member, Role};
use crate::event::Publication;
use crate::json::quoted;
use crate::name::ChannelName;
use crate::plain::frame::push_data;
use crate::socketio::RESERVED;

/// The event for a delivery, if there is one.
#[must_use]
pub fn deliver(channel: &ChannelName, delivery: &Delivery) -> Option<String> {
    match delivery {
        Delivery::Published(publication) => published(channel, publication),
        Delivery::Welcome { joined, welcome } => match (&joined.role, &welcome.members) {
            (Role::Subscriber(_), Some(members)) => {
                let members: Vec<String> = members.iter().map(|one| member(one)).collect();
                let members = format!("[{}]", members.join(","));
                Some(event("presence:subscribed", channel, &members))
            }
            (Role::Subscriber(_), None) => match &welcome.cached {
                Some(Cached::Hit(publication)) => published(channel, publication),
                Some(Cached::Miss) | None => None,
            },
            _ => None,
        },
        Delivery::MemberAdded { member: added, .. } => {
            Some(event("presence:joining", channel, &member(added)))
        }
        Delivery::MemberRemoved { user, info } => {
            let removed = Member::new(user.clone(), info.clone());
            Some(event("presence:leaving", channel, &member(&removed)))
        }
        Delivery::SubscriptionCount(_)
        | Delivery::Online(_)
        | Delivery::Terminate
        | Delivery::Notified(_)
        | Delivery::Resumed(_) => None,
    }
}

/// An event whose name means something else to Socket.IO's clients cannot be shown.
fn published(channel: &ChannelName, publication: &Publication) -> Option<String> {
    let published = &publication.draft.event;
    let name = published.name.as_str();
    if RESERVED.contains(&name) {
        return None;
    }
    let mut data = String::with_capacity(published.data.bytes() + 2);
    push_data(&mut data, &published.data);
    Some(event(name, channel, &data))
}

fn member(member: &Member) -> String {
    let info = member.info.as_deref().unwrap_or("null");
    format!(r#"{{"user_id":{},"user_info":{info}}}"#, quoted(member.user.as_str()))
}

fn event(name: &str, channel: &ChannelName, data: &str) -> String {
    format!("[{},{},{data}]", quoted(name), quoted(channel.as_str()))
}
