//! What one shard of a relay knows of one channel: its own connections there, and how far the
//! channel's publications have come. It decides what reaches the connections; the shard
//! (`node/src/relay/shard.rs`) encodes and hands out. `S` is where a subscriber's frames go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::channel::{Joined, Member, Part, Resumed, Resync, Role, Welcome};
use crate::event::Publication;
use crate::name::{RelayId, SocketId, UserId};
use crate::position::{Offset, Position};
use crate::time::Moment;

/// Publications kept for an owner that takes over and may lack them: more than can be on their way
/// to the successor while it is healthy.
const TAIL_EVENTS: usize = 32;
/// Bytes of them.
const TAIL_BYTES: usize = 32 * 1024;
/// How long they are kept.
const TAIL_FOR: Duration = Duration::from_secs(5);

/// How long the owner has to answer a question for what is missing.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A channel's connections in a shard.
#[derive(Debug)]
pub struct Local<S> {
    last: Position,
    tail: VecDeque<Arc<Publication>>,
    tail_bytes: usize,
    subscribers: IndexMap<SocketId, Subscriber<S>>,
    /// Connections here in another role: signed in as, or watching, this channel's user.
    others: IndexMap<SocketId, Vec<Role>>,
    /// Connections that asked to be in and have not been welcomed.
    joining: Vec<Joined>,
    /// The members as the connections have been told.
    members: Option<BTreeMap<UserId, Arc<Member>>>,
    /// Who of them is here, and with how many connections.
    here: BTreeMap<UserId, (Arc<Member>, usize)>,
    /// When the owner was asked for what is missing.
    asked: Option<Moment>,
    /// Whether the user of the channel is signed in, as watchers have been told.
    is_online: bool,
}

#[derive(Debug)]
struct Subscriber<S> {
    sink: S,
    role: Role,
    /// The last place before it joined: an earlier publication that is sent again is not for it.
    since: Offset,
}

/// What to do with a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next.
    Deliver,
    /// It was delivered before, or comes from an ownership that is over.
    Repeat,
    /// Something before it is missing, and the owner is to be asked for it.
    Hole,
    /// As before, and the owner has been asked.
    Waiting,
}

/// Where a connection stands whose join was refused, or not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not in.
    Out,
    /// It is in: it has been welcomed, and only the answer was lost.
    Welcomed,
    /// It is in by an earlier join, and has been told nothing of this one.
    Before,
}

/// What the connections are to be told when a channel goes on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Publications are missing that nobody has any more.
    pub is_gap: bool,
    /// Members that came.
    pub added: Vec<Arc<Member>>,
    /// Members that went.
    pub removed: Vec<Arc<Member>>,
    /// Members that are here and that the owner has not heard of, so that a welcome does not list them.
    pub unlisted: Vec<Arc<Member>>,
}

impl<S> Default for Local<S> {
    fn default() -> Self {
        Self {
            last: Position::default(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            subscribers: IndexMap::new(),
            others: IndexMap::new(),
            joining: Vec::new(),
            members: None,
            here: BTreeMap::new(),
            asked: None,
            is_online: false,
        }
    }
}

impl<S> Local<S> {
    /// A connection asks to be in.
    pub fn join(&mut self, joined: Joined) {
        self.joining.retain(|known| *known != joined);
        self.joining.push(joined);
    }

    /// A connection was not let in, or nobody said so in time.
    pub fn refuse(&mut self, joined: &Joined) -> Standing {
        let waiting = self.joining.len();
        self.joining.retain(|known| known != joined);
        let is_in = match &joined.role {
            Role::Subscriber(_) => self.subscribers.contains_key(&joined.socket),
            role => self.others.get(&joined.socket).is_some_and(|roles| roles.contains(role)),
        };
        match is_in {
            false => Standing::Out,
            true if self.joining.len() == waiting => Standing::Welcomed,
            true => Standing::Before,
        }
    }

    /// The owner has let a connection in: what the others have to be told. None if it was not waiting
    /// for that: it has been welcomed already, or it has gone.
    pub fn welcome(&mut self, joined: &Joined, welcome: &Welcome, sink: S) -> Option<Changes> {
        let waiting = self.joining.len();
        self.joining.retain(|known| known != joined);
        if self.joining.len() == waiting {
            return None;
        }
        let mut changes = Changes::default();
        if let Some(members) = &welcome.members {
            self.learn(members, &mut changes);
        }
        let Joined { socket, role, .. } = joined.clone();
        match role {
            Role::Subscriber(_) => {
                // Where others are, the publications that they lack are still to come: but not from an
                // owner that has not come their way, whose places are others.
                let is_alone = self.subscribers.is_empty();
                changes.is_gap = !is_alone && welcome.position.epoch < self.last.epoch;
                if is_alone || changes.is_gap {
                    self.last = welcome.position;
                }
                // As what it came first holds, as in the channel's roster.
                let since = welcome.position.offset;
                self.enter(socket, Subscriber { sink, role, since });
            }
            Role::SignedIn | Role::Watcher => {
                if role == Role::Watcher {
                    self.is_online = welcome.is_online;
                }
                let roles = self.others.entry(socket).or_default();
                if !roles.contains(&role) {
                    roles.push(role);
                }
            }
        }
        Some(changes)
    }

    fn enter(&mut self, socket: SocketId, subscriber: Subscriber<S>) {
        let Entry::Vacant(place) = self.subscribers.entry(socket) else { return };
        if let Role::Subscriber(Some(member)) = &place.insert(subscriber).role {
            let new = || (Arc::clone(member), 0);
            self.here.entry(member.user.clone()).or_insert_with(new).1 += 1;
        }
    }

    fn exit(&mut self, socket: SocketId) {
        let left = self.subscribers.swap_remove(&socket);
        let Some(Role::Subscriber(Some(member))) = left.map(|left| left.role) else { return };
        if let Some((_, connections)) = self.here.get_mut(&member.user) {
            *connections -= 1;
            if *connections == 0 {
                self.here.remove(&member.user);
            }
        }
    }

    /// Takes over who the members are, as the owner says; its connections were told something else.
    /// Who is here is a member, even if the owner has not heard of this part of the relay yet.
    fn learn(&mut self, members: &[Arc<Member>], changes: &mut Changes) {
        let mut present = by_user(members);
        for (user, (member, _)) in &self.here {
            if !present.contains_key(user) {
                changes.unlisted.push(Arc::clone(member));
                present.insert(user.clone(), Arc::clone(member));
            }
        }
        let known = self.members.replace(present.clone()).unwrap_or_default();
        let is_known = |member: &&Arc<Member>| known.contains_key(&member.user);
        changes.added = present.values().filter(|m| !is_known(m)).cloned().collect();
        changes.removed = known.into_values().filter(|m| !present.contains_key(&m.user)).collect();
    }

    /// A connection is no longer a subscriber.
    pub fn unsubscribe(&mut self, socket: SocketId) {
        self.exit(socket);
        let is_it =
            |joined: &Joined| joined.socket == socket && matches!(joined.role, Role::Subscriber(_));
        self.joining.retain(|joined| !is_it(joined));
    }

    /// A connection is gone.
    pub fn leave(&mut self, socket: SocketId) {
        self.exit(socket);
        self.others.swap_remove(&socket);
        self.joining.retain(|joined| joined.socket != socket);
    }

    /// Whether no connection is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.others.is_empty()
    }

    /// Whether no connection is in it or on its way in.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.is_empty() && self.joining.is_empty()
    }

    /// Whether this connection is in it in any role, or on its way in.
    #[must_use]
    pub fn has(&self, socket: SocketId) -> bool {
        self.subscribers.contains_key(&socket)
            || self.others.contains_key(&socket)
            || self.joining.iter().any(|joined| joined.socket == socket)
    }

    /// The subscribers, in no order that means anything.
    pub fn subscribers(&self) -> impl Iterator<Item = (&SocketId, &S)> {
        self.subscribers.iter().map(|(socket, subscriber)| (socket, &subscriber.sink))
    }

    /// The subscribers that were there when a publication got this place.
    pub fn audience(&self, place: Offset) -> impl Iterator<Item = (&SocketId, &S)> {
        let is_for = move |(_, subscriber): &(&SocketId, &Subscriber<S>)| subscriber.since < place;
        let audience = self.subscribers.iter().filter(is_for);
        audience.map(|(socket, subscriber)| (socket, &subscriber.sink))
    }

    /// Whether this connection gets the publications.
    #[must_use]
    pub fn is_subscriber(&self, socket: SocketId) -> bool {
        self.subscribers.contains_key(&socket)
    }

    /// Connections in another role.
    #[must_use]
    pub fn in_role(&self, role: &Role) -> Vec<SocketId> {
        let chosen = self.others.iter().filter(|(_, roles)| roles.contains(role));
        chosen.map(|(socket, _)| *socket).collect()
    }

    /// What is to be done with a publication; if it is delivered it counts as such.
    pub fn publish(&mut self, publication: &Arc<Publication>) -> Verdict {
        let position = publication.position;
        if self.subscribers.is_empty() || position <= self.last {
            return Verdict::Repeat;
        }
        if position.offset != self.last.offset.next() {
            let now = publication.accepted;
            if self.asked.is_some_and(|asked| now.since(asked) < ASK_AGAIN_AFTER) {
                return Verdict::Waiting;
            }
            self.asked = Some(now);
            return Verdict::Hole;
        }
        self.last = position;
        self.keep(publication);
        Verdict::Deliver
    }

    fn keep(&mut self, publication: &Arc<Publication>) {
        self.tail_bytes += publication.draft.event.data.bytes();
        self.tail.push_back(Arc::clone(publication));
        let now = publication.accepted;
        while let Some(oldest) = self.tail.front()
            && (self.tail.len() > TAIL_EVENTS
                || self.tail_bytes > TAIL_BYTES
                || now.since(oldest.accepted) > TAIL_FOR)
        {
            self.tail_bytes -= oldest.draft.event.data.bytes();
            self.tail.pop_front();
        }
    }

    /// A user came. False if the connections know.
    pub fn member_added(&mut self, member: &Arc<Member>) -> bool {
        let members = self.members.get_or_insert_default();
        members.insert(member.user.clone(), Arc::clone(member)).is_none()
    }

    /// A user went: who that was. None if the connections know, or if the user is here: then the owner
    /// has not heard of this part of the relay yet.
    pub fn member_removed(&mut self, user: &UserId) -> Option<Arc<Member>> {
        self.members.as_mut().filter(|_| !self.here.contains_key(user))?.remove(user)
    }

    /// The user of the channel came or went. False if the watchers know.
    pub const fn online(&mut self, is_online: bool) -> bool {
        let is_change = self.is_online != is_online;
        self.is_online = is_online;
        is_change
    }

    /// The last publication that was delivered.
    #[must_use]
    pub const fn last(&self) -> Position {
        self.last
    }

    /// The owner has sent everything that was missing and that it has.
    pub fn resumed(&mut self, resumed: &Resumed) -> Changes {
        self.asked = None;
        let mut changes = Changes::default();
        if self.is_empty() {
            return changes;
        }
        if !self.subscribers.is_empty() {
            changes.is_gap = resumed.is_diverged || self.last.offset != resumed.position.offset;
        }
        self.last = resumed.position;
        if let Some(members) = &resumed.members {
            self.learn(members, &mut changes);
        }
        changes
    }

    /// What this shard has of the channel, for an owner.
    #[must_use]
    pub fn resync(&self, relay: RelayId, part: Part, now: Moment) -> Resync {
        let subscribers = self.subscribers.iter().map(|(&socket, subscriber)| {
            let role = subscriber.role.clone();
            Joined::new(socket, role)
        });
        let others = self.others.iter().flat_map(|(&socket, roles)| {
            roles.iter().cloned().map(move |role| Joined::new(socket, role))
        });
        let is_recent =
            |publication: &&Arc<Publication>| now.since(publication.accepted) <= TAIL_FOR;
        Resync {
            relay,
            part,
            joined: subscribers.chain(others).collect(),
            joining: self.joining.clone(),
            last: self.last,
            tail: self.tail.iter().filter(is_recent).cloned().collect(),
        }
    }
}

fn by_user(members: &[Arc<Member>]) -> BTreeMap<UserId, Arc<Member>> {
    members.iter().map(|member| (member.user.clone(), Arc::clone(member))).collect()
}

#[cfg(test)]
mod tests;
