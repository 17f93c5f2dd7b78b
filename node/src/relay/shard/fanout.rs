//! Handing out: a delivery is encoded once for each wire format and put into the outbox of each
//! connection that it is for.

use std::sync::Arc;

use proto::channel::{Delivery, Member, Role};
use proto::cluster::slot::Slot;
use proto::door::Signal;
use proto::relay::Changes;
use proto::{ChannelKey, Offset, SocketId};

use crate::outbox::Full;

use super::frames::Frames;
use super::{Connection, Shard, Sink};

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
    ) -> (usize, usize) {
        let Some(local) = self.channels[Slot::of(key).index()].get(key) else {
            return (0, 0);
        };
        let frames = Frames::new(&key.channel, delivery);
        let (mut sent, mut bytes) = (0, 0);
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
            sent += 1;
            bytes += frame.len();
            let given = if self.is_gathering {
                outbox.push(frame).map(|is_first| {
                    if is_first {
                        self.unflushed.push(Arc::clone(outbox));
                    }
                })
            } else {
                outbox.send(frame)
            };
            if given == Err(Full::Lagging) {
                self.metrics.lagging(&key.app);
            }
            if let Some(connection) = connection {
                connection.delivered(&mut self.unflushed);
            }
        }
        (sent, bytes)
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
            let delivery = Delivery::MemberAdded { member, except: SocketId::from_random(0) };
            self.tell_subscribers(key, &delivery, except);
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

    fn in_role(&self, key: &ChannelKey, role: &Role) -> Vec<&Connection> {
        let local = self.channels[Slot::of(key).index()].get(key);
        let sockets = local.map(|local| local.in_role(role)).unwrap_or_default();
        sockets.iter().filter_map(|socket| self.connections.get(socket)).collect()
    }
}
