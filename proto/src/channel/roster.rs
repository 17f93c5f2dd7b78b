//! Who is in a channel. Each relay is the only writer of its own connections; the roster is the
//! union, so nothing is ever merged and there are no ghosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{RelayId, SocketId, UserId};
use crate::time::{Moment, Shift};

use super::command::Member;

/// The subscribers of a channel, and its members if it is a presence channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Roster {
    subscribers: Sockets,
    members: BTreeMap<UserId, Presence>,
    users: BTreeMap<SocketId, UserId>,
    #[serde(default, skip_serializing_if = "Graces::is_empty")]
    graces: Graces,
}

/// Connections whose users may stay when they are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Graces {
    /// For how long, in milliseconds, of those that are here.
    millis: BTreeMap<SocketId, u32>,
    /// Until when, of those that are lost.
    until: Ends,
}

/// When graces end, the first to end first as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "BTreeMap<SocketId, Moment>", into = "BTreeMap<SocketId, Moment>")]
struct Ends {
    by_socket: BTreeMap<SocketId, Moment>,
    by_moment: BTreeSet<(Moment, SocketId)>,
}

impl From<BTreeMap<SocketId, Moment>> for Ends {
    fn from(by_socket: BTreeMap<SocketId, Moment>) -> Self {
        let by_moment = by_socket.iter().map(|(&socket, &until)| (until, socket)).collect();
        Self { by_socket, by_moment }
    }
}

impl From<Ends> for BTreeMap<SocketId, Moment> {
    fn from(ends: Ends) -> Self {
        ends.by_socket
    }
}

impl Ends {
    fn insert(&mut self, socket: SocketId, until: Moment) {
        self.remove(socket);
        self.by_socket.insert(socket, until);
        self.by_moment.insert((until, socket));
    }

    fn remove(&mut self, socket: SocketId) -> bool {
        let until = self.by_socket.remove(&socket);
        until.is_some_and(|until| self.by_moment.remove(&(until, socket)))
    }

    fn first(&self) -> Option<Moment> {
        self.by_moment.first().map(|(until, _)| *until)
    }

    /// Takes out the first one that has ended.
    fn take_ended(&mut self, now: Moment) -> Option<SocketId> {
        let (_, socket) = *self.by_moment.first().filter(|(until, _)| *until <= now)?;
        self.remove(socket);
        Some(socket)
    }

    /// Which of these connections are lost. A user can have as many as the channel has lost, or more.
    fn among(&self, sockets: &BTreeSet<SocketId>) -> Vec<SocketId> {
        match self.by_socket.len() < sockets.len() {
            true => self.by_socket.keys().filter(|it| sockets.contains(it)).copied().collect(),
            false => sockets.iter().filter(|it| self.by_socket.contains_key(it)).copied().collect(),
        }
    }
}

impl Graces {
    fn is_empty(&self) -> bool {
        self.millis.is_empty() && self.until.by_socket.is_empty()
    }
}

/// Connections, by the relay that holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Sockets {
    relays: BTreeMap<RelayId, BTreeSet<SocketId>>,
    total: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Presence {
    member: Arc<Member>,
    sockets: BTreeSet<SocketId>,
}

/// What a join changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// The connection was in already.
    Known,
    /// The connection is new. Its user, if any, was here through another connection.
    Subscriber,
    /// The connection is new and so is its user.
    Member,
}

/// What a leave changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// The connection was not in.
    Unknown,
    /// The connection left. Its user, if any, is still here through another connection.
    Subscriber,
    /// The connection left and so did its user.
    Member(UserId),
}

impl Sockets {
    /// Adds a connection; false if it was there.
    pub(super) fn insert(&mut self, relay: &RelayId, socket: SocketId) -> bool {
        let is_new = match self.relays.get_mut(relay) {
            Some(sockets) => sockets.insert(socket),
            None => {
                let sockets = BTreeSet::from([socket]);
                self.relays.insert(relay.clone(), sockets);
                true
            }
        };
        self.total += usize::from(is_new);
        is_new
    }

    /// Removes a connection; false if it was not there.
    pub(super) fn remove(&mut self, relay: &RelayId, socket: SocketId) -> bool {
        let Some(sockets) = self.relays.get_mut(relay) else {
            return false;
        };
        let was_there = sockets.remove(&socket);
        if sockets.is_empty() {
            self.relays.remove(relay);
        }
        self.total -= usize::from(was_there);
        was_there
    }

    /// The relays with connections here.
    pub(super) fn relays(&self) -> impl Iterator<Item = &RelayId> {
        self.relays.keys()
    }

    /// The connections of one relay.
    #[must_use]
    pub(super) fn of_relay(&self, relay: &RelayId) -> Vec<SocketId> {
        self.relays.get(relay).map(|s| s.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether this relay holds this connection here.
    #[must_use]
    pub(super) fn has(&self, relay: &RelayId, socket: SocketId) -> bool {
        self.relays.get(relay).is_some_and(|sockets| sockets.contains(&socket))
    }

    /// How many connections are here and not there.
    #[must_use]
    pub(super) fn not_in(&self, others: &Self) -> usize {
        let of_relay =
            |(relay, sockets): (&RelayId, &BTreeSet<SocketId>)| match others.relays.get(relay) {
                Some(others) => sockets.difference(others).count(),
                None => sockets.len(),
            };
        self.relays.iter().map(of_relay).sum()
    }

    /// Whether any relay holds this connection here.
    #[must_use]
    pub(super) fn has_socket(&self, socket: SocketId) -> bool {
        self.relays.values().any(|sockets| sockets.contains(&socket))
    }

    /// How many connections there are.
    #[must_use]
    pub(super) const fn len(&self) -> usize {
        self.total
    }

    /// Whether there is none.
    #[must_use]
    pub(super) const fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl Roster {
    /// Adds a connection, and its user if it has one.
    pub(super) fn join(
        &mut self,
        relay: &RelayId,
        socket: SocketId,
        member: Option<&Arc<Member>>,
    ) -> Join {
        if !self.subscribers.insert(relay, socket) {
            return Join::Known;
        }
        let Some(member) = member else {
            return Join::Subscriber;
        };
        self.end_graces(&member.user);
        self.users.insert(socket, member.user.clone());
        if member.grace_ms > 0 {
            self.graces.millis.insert(socket, member.grace_ms);
        }
        match self.members.get_mut(&member.user) {
            // The first description of a user holds until the user has left.
            Some(presence) => {
                presence.sockets.insert(socket);
                Join::Subscriber
            }
            None => {
                let member = Arc::clone(member);
                let sockets = BTreeSet::from([socket]);
                let user = member.user.clone();
                self.members.insert(user, Presence { member, sockets });
                Join::Member
            }
        }
    }

    /// The user is back: nothing has to keep its place any more.
    fn end_graces(&mut self, user: &UserId) {
        let Some(presence) = self.members.get_mut(user) else { return };
        for socket in self.graces.until.among(&presence.sockets) {
            self.graces.until.remove(socket);
            presence.sockets.remove(&socket);
            self.users.remove(&socket);
        }
    }

    /// Removes a connection, and its user if this was the user's last one.
    pub(super) fn leave(&mut self, relay: &RelayId, socket: SocketId) -> Leave {
        self.graces.millis.remove(&socket);
        if !self.subscribers.remove(relay, socket) {
            return Leave::Unknown;
        }
        self.forget_user_of(socket).map_or(Leave::Subscriber, Leave::Member)
    }

    /// As [`Roster::leave`], but the user of a connection that has a grace stays for that long.
    pub(super) fn lose(&mut self, relay: &RelayId, socket: SocketId, now: Moment) -> Leave {
        let Some(millis) = self.graces.millis.remove(&socket) else {
            return self.leave(relay, socket);
        };
        if !self.subscribers.remove(relay, socket) {
            return Leave::Unknown;
        }
        self.graces.until.insert(socket, now + Duration::from_millis(millis.into()));
        Leave::Subscriber
    }

    /// When the first user's grace ends.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.graces.until.first()
    }

    /// The users who have not come back in their grace, and are gone now.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<UserId> {
        let mut gone = Vec::new();
        while let Some(socket) = self.graces.until.take_ended(now) {
            gone.extend(self.forget_user_of(socket));
        }
        gone
    }

    /// Translates from another node's time.
    pub(super) fn rebase(&mut self, shift: Shift) {
        let ends = std::mem::take(&mut self.graces.until.by_socket).into_iter();
        let moved: BTreeMap<_, _> =
            ends.map(|(socket, until)| (socket, until.moved(shift))).collect();
        self.graces.until = moved.into();
    }

    fn forget_user_of(&mut self, socket: SocketId) -> Option<UserId> {
        let user = self.users.remove(&socket)?;
        let presence = self.members.get_mut(&user)?;
        presence.sockets.remove(&socket);
        if !presence.sockets.is_empty() {
            return None;
        }
        self.members.remove(&user);
        Some(user)
    }

    /// Connections subscribed.
    #[must_use]
    pub(super) const fn subscribers(&self) -> &Sockets {
        &self.subscribers
    }

    /// Whether nobody is here, and nobody's place is kept either.
    #[must_use]
    pub(super) fn is_vacant(&self) -> bool {
        self.subscribers.is_empty() && self.members.is_empty()
    }

    /// Distinct members.
    #[must_use]
    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether this user is a member.
    #[must_use]
    pub(super) fn has_member(&self, user: &UserId) -> bool {
        self.members.contains_key(user)
    }

    /// The members, by user id.
    #[must_use]
    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.members.values().map(|presence| Arc::clone(&presence.member)).collect()
    }

    /// The user that this connection is here.
    #[must_use]
    pub(super) fn user_of(&self, socket: SocketId) -> Option<&UserId> {
        self.users.get(&socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_node_reads_graces_as_connections_and_their_ends() {
        let at = Moment::from_micros;
        let sockets = [(3, at(5)), (1, at(9)), (2, at(5))];
        let kept: BTreeMap<SocketId, Moment> =
            sockets.map(|(number, until)| (SocketId::from_random(number), until)).into();
        let ends = Ends::from(kept.clone());
        assert_eq!(rmp_serde::to_vec(&ends).unwrap(), rmp_serde::to_vec(&kept).unwrap());
        let mut ends: Ends = rmp_serde::from_slice(&rmp_serde::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(ends.first(), Some(at(5)));
        let mut over = Vec::from_iter(std::iter::from_fn(|| ends.take_ended(at(5))));
        over.sort_unstable();
        assert_eq!(over, [2, 3].map(SocketId::from_random));
        assert_eq!((ends.first(), ends.by_socket.len()), (Some(at(9)), 1));
        assert!(ends.remove(SocketId::from_random(1)) && ends == Ends::default());
    }
}
