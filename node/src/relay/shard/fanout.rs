//! Handing out: a delivery is encoded once for each wire format and put into the outbox of each
//! connection that it is for.

use std::sync::Arc;

use bytes::Bytes;

use proto::channel::{Delivery, Member, Role};
use proto::cluster::slot::Slot;
use proto::door::Signal;
use proto::relay::Changes;
use proto::wire::Wire;
use proto::{AppId, ChannelKey, Offset, SocketId};

use crate::clock::Clock;
use crate::metrics::Sent;
use crate::outbox::{Frame, Full, Pushed};

use super::frames::Frames;
use super::{Connection, Shard, Sink};

/// That a member has come, as all are told whom its own welcome does not tell.
pub(super) fn came(member: Arc<Member>) -> Delivery {
    Delivery::MemberAdded { member, except: SocketId::from_random(0) }
}

/// That a member is gone, as subscribers are told.
pub(super) fn gone(member: &Member) -> Delivery {
    Delivery::MemberRemoved { user: member.user.clone(), info: member.info.clone() }
}

impl Shard {
    pub(super) fn tell_subscribers(
        &mut self,
        key: &ChannelKey,
        delivery: &Delivery,
        except: Option<SocketId>,
    ) -> Sent {
        let Some(local) = self.channels[Slot::of(key).index()].get(key) else {
            return Sent::default();
        };
        let frames = Frames::new(&key.channel, delivery, *self.metrics.clock());
        let mut sent = Sent::default();
        // What is no publication is for everybody.
        let place = match delivery {
            Delivery::Published(publication) => publication.position.offset,
            _ => Offset(u64::MAX),
        };
        for (socket, Sink { outbox, wire, is_personal }) in local.audience(place) {
            if except == Some(*socket) {
                continue;
            }
            let mut connection = is_personal.then(|| self.connections.get_mut(socket)).flatten();
            let Some(frame) = frames.make(*wire, connection.as_deref_mut()) else {
                continue;
            };
            sent.add(*wire, frame.bytes.len());
            let given = if self.is_gathering { outbox.push(frame) } else { outbox.send(frame) };
            match given {
                Ok(Pushed { is_first, shed }) => {
                    if is_first {
                        self.unflushed.push(Arc::clone(outbox));
                    }
                    self.metrics.shed(&key.app, shed);
                }
                Err(Full::Shed) => self.metrics.shed(&key.app, 1),
                Err(Full::Lagging) => self.metrics.lagging(&key.app),
                Err(Full::Closed) => {}
            }
            if let Some(connection) = connection {
                connection.delivered(&mut self.unflushed);
            }
        }
        sent
    }

    /// Tells subscribers that members came and went while they could not be told.
    pub(super) fn tell_changes(
        &mut self,
        key: &ChannelKey,
        changes: Changes,
        except: Option<SocketId>,
    ) {
        for member in changes.removed {
            self.tell_subscribers(key, &gone(&member), except);
        }
        for member in changes.added {
            self.tell_subscribers(key, &came(member), except);
        }
    }

    pub(super) fn tell_watchers(&mut self, key: &ChannelKey, is_online: bool) {
        let is_news = self.local(key).is_some_and(|local| local.online(is_online));
        let Some(user) = key.channel.user().filter(|_| is_news) else {
            return;
        };
        for connection in self.in_role(key, &Role::Watcher) {
            let user = user.clone();
            connection.signal(Signal::Watched { user, is_online });
        }
    }

    /// Ends the connections of a user; whoever holds a session has to show that it lives.
    pub(super) fn terminate(&self, key: &ChannelKey) {
        let is_user = key.channel.user().is_some();
        let signal = if is_user { Signal::Terminated } else { Signal::Challenged };
        for connection in self.in_role(key, &Role::SignedIn) {
            connection.signal(signal.clone());
        }
    }

    /// Tells those who are signed in as the user of a channel, and have not subscribed to it.
    pub(super) fn notify_user(&self, key: &ChannelKey, text: &Arc<str>) {
        let Some(local) = self.channels[Slot::of(key).index()].get(key) else {
            return;
        };
        let besides =
            local.in_role(&Role::SignedIn).into_iter().filter(|s| !local.is_subscriber(*s));
        for connection in besides.filter_map(|socket| self.connections.get(&socket)) {
            connection.signal(Signal::Notified(Arc::clone(text)));
        }
    }

    /// Tells all connections of an app, and returns how many they are. Who polls is not told: most of
    /// the time it is not here. A client of Socket.IO has no name until it was let in.
    pub(super) fn notify(&self, app: &AppId, text: &Arc<str>) -> u64 {
        let is_told = |connection: &&Connection| {
            connection.app == *app
                && match connection.wire {
                    // Laravel Echo has no word for it.
                    Wire::Poll | Wire::Echo => false,
                    Wire::Pusher | Wire::Plain | Wire::Sse | Wire::SocketIo => {
                        connection.is_let_in()
                    }
                }
        };
        let mut told = 0;
        for connection in self.connections.values().filter(is_told) {
            connection.signal(Signal::Notified(Arc::clone(text)));
            told += 1;
        }
        told
    }

    /// Ends the sockets that their clients know by this id, and returns whether there are any. They can
    /// be two while one that has come back is not known to be gone. A poll has none.
    pub(super) fn terminate_one(&self, app: &AppId, id: &str) -> bool {
        let socket = SocketId::parse(id).ok();
        let is_it = |(known, connection): &(&SocketId, &Connection)| {
            connection.app == *app
                && connection.wire != Wire::Poll
                && (socket == Some(**known) || connection.is_named(|name| name == id))
        };
        let mut is_here = false;
        for (_, connection) in self.connections.iter().filter(is_it) {
            connection.signal(Signal::Terminated);
            is_here = true;
        }
        is_here
    }

    fn in_role(&self, key: &ChannelKey, role: &Role) -> Vec<&Connection> {
        let local = self.channels[Slot::of(key).index()].get(key);
        let sockets = local.map(|local| local.in_role(role)).unwrap_or_default();
        sockets.iter().filter_map(|socket| self.connections.get(socket)).collect()
    }
}

/// What was encoded, with what its publisher said of it.
pub(super) fn framed(bytes: Bytes, delivery: &Delivery, clock: &Clock) -> Frame {
    let Delivery::Published(publication) = delivery else {
        return bytes.into();
    };
    let expires = publication.expires().map(|expires| clock.instant(expires));
    Frame { bytes, priority: publication.draft.priority, expires }
}
