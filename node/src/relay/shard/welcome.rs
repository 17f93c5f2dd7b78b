//! A connection is let in: it is told so, then what it has missed, and from then on what is new.

use std::sync::Arc;

use proto::channel::{Command, Delivery, Joined, Member, Recovery, Role, Welcome};
use proto::door::Signal;
use proto::{ChannelKey, SocketId};

use super::fanout::{came, framed};
use super::{Shard, Sink};
use crate::outbox::Full;

impl Shard {
    pub(super) fn welcome(
        &mut self,
        key: &ChannelKey,
        joined: &Joined,
        welcome: &Welcome,
        delivery: &Delivery,
    ) {
        let socket = joined.socket;
        let Some(connection) = self.connections.get(&socket) else {
            // It went away while it was being welcomed.
            self.router.leave(key.clone(), socket);
            return;
        };
        let sink = Sink {
            outbox: Arc::clone(&connection.outbox),
            wire: connection.wire,
            is_personal: connection.is_personal(),
        };
        let local = self.local(key);
        let is_known = local.as_ref().is_some_and(|local| local.has(socket));
        let Some(mut changes) = local.and_then(|local| local.welcome(joined, welcome, sink)) else {
            if !is_known {
                // It has given up waiting.
                let relay = self.router.me().clone();
                self.router.send_once(key.clone(), Command::Leave { relay, socket });
            }
            return;
        };
        if changes.is_gap {
            self.gap(key, Some(socket));
        }
        let unlisted = std::mem::take(&mut changes.unlisted);
        self.tell_changes(key, changes, Some(socket));
        self.greet(key, joined, welcome, delivery);
        self.tell_unlisted(key, socket, unlisted);
    }

    /// Tells one that was let in of members whom its welcome did not list.
    fn tell_unlisted(&mut self, key: &ChannelKey, socket: SocketId, members: Vec<Arc<Member>>) {
        let Some(connection) = self.connections.get(&socket) else {
            return;
        };
        for member in members {
            if let Some(frame) = connection.wire.encode(&key.channel, &came(member)) {
                // An outbox that is full is closed by itself.
                let _ = connection.give(frame, &mut self.unflushed);
            }
        }
    }

    fn greet(&mut self, key: &ChannelKey, joined: &Joined, welcome: &Welcome, delivery: &Delivery) {
        let Some(connection) = self.connections.get_mut(&joined.socket) else {
            return;
        };
        if joined.role == Role::Watcher
            && let Some(user) = key.channel.user()
        {
            connection.signal(Signal::Watched { user, is_online: welcome.is_online });
        }
        if !matches!(joined.role, Role::Subscriber(_)) {
            return;
        }
        let missed = match &welcome.recovery {
            Some(Recovery::Whole(missed)) => missed.as_slice(),
            Some(Recovery::Gap) | None => &[],
        };
        let begins_at = match (missed, joined.since) {
            ([_, ..], Some(since)) => since,
            _ => welcome.position,
        };
        connection.came_to(&key.channel, begins_at);
        if connection.is_resumable() {
            let channel = key.channel.clone();
            connection.signal(Signal::Entered { channel, position: begins_at });
        }
        let missed = missed.iter().map(|publication| Delivery::Published(Arc::clone(publication)));
        for delivery in std::iter::once(delivery.clone()).chain(missed) {
            if let Delivery::Published(publication) = &delivery {
                connection.came_to(&key.channel, publication.position);
            }
            // An outbox that is full is closed by itself.
            if let Some(bytes) = connection.wire.encode(&key.channel, &delivery) {
                let frame = framed(bytes, &delivery, self.metrics.clock());
                match connection.give(frame, &mut self.unflushed) {
                    Ok(()) | Err(Full::Shed) => {}
                    Err(Full::Closed | Full::Lagging) => return,
                }
            }
        }
        connection.came_to(&key.channel, welcome.position);
        connection.delivered(&mut self.unflushed);
        if connection.wire.is_silent_on_welcome() {
            let is_whole = welcome.recovery.as_ref().map(|recovery| *recovery != Recovery::Gap);
            let (channel, subscribers) = (key.channel.clone(), welcome.subscribers);
            connection.signal(Signal::Welcomed { channel, subscribers, is_whole });
        }
    }
}
