//! How a channel goes on at another node: under which epoch, with whose connections, and what the
//! relays are told so that none of their subscribers misses or repeats anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::Publication;
use crate::http::webhook::{Edge, Happening};
use crate::name::{ChannelName, RelayId, SocketId, UserId};
use crate::position::{Epoch, Position};
use crate::time::{Moment, Now, Shift};

use super::command::{
    Branch, Delivery, Effect, Joined, Part, Published, Recovery, Resumed, Resync, Role, Way,
};
use super::roster::Sockets;
use super::{Channel, Settings};

/// Earlier ownerships that a channel remembers. Whoever comes from an older one is told of a loss.
const ANCESTORS_MAX: usize = 16;

impl Channel {
    /// The same channel in the time of the node that takes it over.
    pub fn rebase(&mut self, shift: Shift) {
        self.memory.rebase(shift);
        self.roster.rebase(shift);
        self.edges.rebase(shift);
        self.count.rebase(shift);
    }

    /// Goes on under a new ownership: the earlier owner could not say that it had ended its own.
    /// Places that it gave stay as they are.
    pub fn take_over(&mut self, epoch: Epoch) {
        self.remember_end(self.position);
        self.position.epoch = epoch;
        self.is_fresh = true;
    }

    fn remember_end(&mut self, end: Position) {
        if self.ancestors.len() >= ANCESTORS_MAX {
            self.ancestors.remove(0);
        }
        self.ancestors.push(end);
    }

    /// A channel of which nothing is known but what its relays will say.
    #[must_use]
    pub fn forgotten(name: ChannelName, epoch: Epoch, settings: Settings) -> Self {
        let mut channel = Self::new(name, epoch, settings);
        channel.is_fresh = true;
        channel
    }

    /// The relays that have connections here in any role.
    pub fn relays(&self) -> impl Iterator<Item = &RelayId> {
        let sockets = [self.roster.subscribers(), &self.signed_in, &self.watchers];
        sockets.into_iter().flat_map(Sockets::relays)
    }

    /// What the application has not been told of for certain, oldest first.
    pub fn untold(&self) -> impl Iterator<Item = Edge> {
        self.edges.outbox().map(|(id, happening)| {
            let channel = self.name.clone();
            Edge { id, channel, happening }
        })
    }

    /// What this state of a channel leaves behind, when another one goes on.
    #[must_use]
    pub fn into_branch(self) -> Branch {
        let members = self.roster.members().into_iter().map(|member| member.user.clone());
        let (leaving, is_occupied) = self.edges.told();
        let told = members.chain(leaving).collect();
        let way = self.way();
        Branch { cached: self.memory.last_cached().cloned(), told, is_occupied, way }
    }

    /// The way that the channel has come.
    #[must_use]
    pub fn way(&self) -> Way {
        let ends = self.ancestors.iter().copied().chain([self.position]).collect();
        let published_ms = self.memory.iter().last().map_or(0, |last| last.unix_ms);
        Way { ends, published_ms }
    }

    /// Whether something was published on another way of the channel since it parted from this one.
    /// What ended before this one began is not another way.
    #[must_use]
    pub fn lacks(&self, other: &Way) -> bool {
        let own = self.way();
        let shared = other.ends.iter().filter_map(|end| {
            let same = own.ends.iter().filter(|own| own.epoch == end.epoch);
            same.map(|own| own.offset.min(end.offset)).max()
        });
        match (shared.max(), own.ends.first()) {
            (Some(shared), _) => other.ends.last().is_some_and(|last| last.offset > shared),
            (None, Some(first)) => other.published_ms >= first.epoch.birth,
            (None, None) => false,
        }
    }

    /// Another node served the channel as well: tells subscribers if they lack what it published, keeps
    /// the later one of two cached events, and tells the application who is here and who is not, where
    /// the two have not both told it so: whichever of their words it heard last.
    pub(super) fn reunite(&mut self, branch: Branch, now: Now, effects: &mut Vec<Effect>) {
        let Branch { cached, told, is_occupied, way } = branch;
        if self.lacks(&way) {
            self.begin_after(self.position.epoch, now);
            self.parted_at = Some(self.position);
            self.tell_of_loss(&[], effects);
        }
        if let Some(cached) = cached.filter(|_| self.kind.cache) {
            self.memory.cache_if_later(cached);
        }
        let mut happenings = Vec::new();
        self.edges.hold_nothing(&mut happenings);
        let told: BTreeSet<UserId> = told.into_iter().collect();
        let gone = told.iter().filter(|user| !self.roster.has_member(user)).cloned();
        happenings.extend(gone.map(|user_id| Happening::MemberRemoved { user_id }));
        if !self.roster.is_vacant() {
            if !(is_occupied && self.edges.told().1) {
                happenings.push(Happening::ChannelOccupied);
            }
            let members = self.roster.members().into_iter().map(|member| member.user.clone());
            let untold = members.filter(|user| !told.contains(user));
            happenings.extend(untold.map(|user_id| Happening::MemberAdded { user_id }));
            self.edges.assume(None);
        } else if is_occupied {
            happenings.push(Happening::ChannelVacated);
        }
        self.report(happenings, effects);
    }

    pub(super) fn lose_relay(&mut self, relay: &RelayId, now: Moment, effects: &mut Vec<Effect>) {
        let mut gone = self.roster.subscribers().of_relay(relay);
        gone.extend(self.signed_in.of_relay(relay));
        gone.extend(self.watchers.of_relay(relay));
        for socket in gone {
            self.lose(relay, socket, now, effects);
        }
    }

    /// Takes in what relays have. First all of it, so that what one has delivered reaches the
    /// others; then each is sent what it lacks, and then those who wait are let in.
    pub(super) fn resync(&mut self, parts: Vec<Resync>, now: Now, effects: &mut Vec<Effect>) {
        // What it has told itself since then counts for more.
        let is_forgotten = self.is_fresh && self.ancestors.is_empty() && !self.edges.has_told();
        for part in &parts {
            self.recover(part, now, effects);
        }
        let tails = parts.iter().filter(|part| !part.joined.is_empty()).flat_map(|p| &p.tail);
        let is_split = tails.into_iter().any(|publication| self.is_astray(publication.position));
        let (mut asked, mut joining) = (Vec::with_capacity(parts.len()), Vec::new());
        for part in parts {
            // Those who have just joined have missed nothing.
            if !part.joined.is_empty() {
                asked.push((part.relay.clone(), part.last));
            }
            joining.extend(part.joining.iter().map(|one| (part.relay.clone(), one.clone())));
            self.correct(part, is_forgotten, now, effects);
        }
        let epochs = asked.iter().map(|(_, last)| last.epoch).chain([self.position.epoch]);
        let newest = epochs.max().unwrap_or_default();
        let paths: Vec<bool> = asked.iter().map(|(_, last)| self.has_come_by(*last)).collect();
        if newest > self.position.epoch || is_split {
            // Another node went on with the channel while the two did not see each other.
            self.begin_after(newest, now);
        }
        if is_split {
            self.parted_at = Some(self.position);
            let asked: Vec<&RelayId> = asked.iter().map(|(relay, _)| relay).collect();
            self.tell_of_loss(&asked, effects);
        }
        for ((relay, last), is_on_path) in asked.into_iter().zip(paths) {
            self.resume(relay, last, is_on_path && !is_split, effects);
        }
        for (relay, joined) in joining {
            // It asks again, and is refused then.
            if !self.is_held_by_another(&relay, &joined) {
                self.enter(relay, joined, now, effects);
            }
        }
        self.count_changed(now.moment, effects);
    }

    /// Goes on under an epoch that is later than this one, of which places may have been given elsewhere.
    fn begin_after(&mut self, epoch: Epoch, now: Now) {
        let incarnation = self.position.epoch.incarnation;
        self.take_over(Epoch::after(Some(epoch), now.unix_ms, incarnation));
        self.is_fresh = false;
    }

    /// Whether a place lies on the way that the channel has come.
    #[must_use]
    pub fn has_come_by(&self, place: Position) -> bool {
        let mut ends = self.ancestors.iter().chain([&self.position]);
        ends.any(|end| end.epoch == place.epoch && place.offset <= end.offset)
    }

    /// What a connection has missed that says how far it had come. It gets nothing that has expired or
    /// that it said itself.
    pub(super) fn recovery(&self, joined: &Joined, now: Moment) -> Option<Recovery> {
        let since = joined.since?;
        let oldest = self.memory.iter().next().map(|publication| publication.position.offset);
        let is_whole = since.offset == self.position.offset
            || oldest.is_some_and(|oldest| oldest <= since.offset.next());
        let is_from_before = self.parted_at.is_some_and(|parted| since < parted);
        if !is_whole || is_from_before || !self.has_come_by(since) {
            return Some(Recovery::Gap);
        }
        let is_it = |own: SocketId| own == joined.socket || Some(own) == joined.was;
        let missed = self.memory.iter().filter(|publication| {
            publication.position.offset > since.offset
                && !publication.has_expired(now)
                && !publication.draft.origin.except().is_some_and(is_it)
        });
        Some(Recovery::Whole(missed.cloned().collect()))
    }

    /// What an earlier owner gave a place to and only a relay has. Of a relay that came another way
    /// nothing is taken: two ways cannot be made one.
    fn recover(&mut self, part: &Resync, now: Now, effects: &mut Vec<Effect>) {
        if !self.is_fresh || part.joined.is_empty() || !self.leads_on(part) {
            return;
        }
        for publication in &part.tail {
            if self.inherit(publication.position) {
                let mut publication = Publication::clone(publication);
                publication.accepted = now.moment;
                if let Some(retry) = &publication.draft.retry {
                    let position = Some(publication.position);
                    let published = Published { position, ..self.published() };
                    effects.push(Effect::Remember(Arc::clone(retry), published));
                }
                self.remember(&Arc::new(publication), now.moment);
            }
        }
        self.inherit(part.last);
    }

    /// Whether the places that a relay has come by lie on the way of this channel, or lengthen it. An
    /// ownership begins where the one before ended, so one that begins before that went elsewhere.
    fn leads_on(&self, part: &Resync) -> bool {
        let Some(mut end) = self.ancestors.last().copied() else { return true };
        for place in part.tail.iter().map(|publication| publication.position) {
            if place > end && place.offset > end.offset {
                end = place;
            } else if place > end || self.is_astray(place) {
                return false;
            }
        }
        part.last <= end || part.last.offset >= end.offset
    }

    /// Whether a place lies on another way: not on this one, and not before all that is known of it.
    fn is_astray(&self, place: Position) -> bool {
        let first = self.ancestors.first().unwrap_or(&self.position);
        place.epoch >= first.epoch && !self.has_come_by(place)
    }

    /// Moves the end of the last ownership further on. False if it was there already.
    fn inherit(&mut self, place: Position) -> bool {
        match self.ancestors.last_mut() {
            Some(end) if place <= *end => return false,
            Some(end) if place.epoch == end.epoch => *end = place,
            _ => self.remember_end(place),
        }
        self.position.offset = self.position.offset.max(place.offset);
        true
    }

    /// Makes the roster what the relay says of its own connections.
    fn correct(&mut self, part: Resync, is_forgotten: bool, now: Now, effects: &mut Vec<Effect>) {
        let Resync { relay, part, joined, joining, .. } = part;
        for (socket, is_member) in self.of_part(&relay, part) {
            let is_here = |list: &[Joined]| list.iter().any(|joined| joined.socket == socket);
            if !is_here(&joined) && !is_here(&joining) {
                self.lose(&relay, socket, now.moment, effects);
            } else if is_member && !has_role(&joined, socket) && !has_role(&joining, socket) {
                self.unsubscribe(&relay, socket, now.moment, effects);
            }
        }
        for joined in joined {
            if is_forgotten {
                self.assume(&relay, &joined);
            } else if !self.has(&relay, &joined) {
                self.admit(&relay, &joined, now, effects);
            }
        }
    }

    /// Of a channel of which no copy is left, what relays have was announced by an earlier owner.
    fn assume(&mut self, relay: &RelayId, joined: &Joined) {
        match &joined.role {
            Role::Subscriber(member) => {
                self.roster.join(relay, joined.socket, member.as_ref());
                self.edges.assume(member.as_ref().map(|member| &member.user));
            }
            Role::SignedIn => {
                self.signed_in.insert(relay, joined.socket);
            }
            Role::Watcher => {
                self.watchers.insert(relay, joined.socket);
            }
        }
    }

    fn of_part(&self, relay: &RelayId, part: Part) -> Vec<(SocketId, bool)> {
        let mut sockets = self.roster.subscribers().of_relay(relay);
        sockets.extend(self.signed_in.of_relay(relay));
        sockets.extend(self.watchers.of_relay(relay));
        sockets.sort_unstable();
        sockets.dedup();
        sockets.retain(|&socket| part.has(socket));
        let is_subscriber = |&socket: &_| self.roster.subscribers().has(relay, socket);
        sockets.iter().map(|socket| (*socket, is_subscriber(socket))).collect()
    }

    fn has(&self, relay: &RelayId, joined: &Joined) -> bool {
        let sockets = match joined.role {
            Role::Subscriber(_) => self.roster.subscribers(),
            Role::SignedIn => &self.signed_in,
            Role::Watcher => &self.watchers,
        };
        sockets.has(relay, joined.socket)
    }

    /// What was published on another way will reach nobody here: tells the relays, but for some.
    fn tell_of_loss(&self, but: &[&RelayId], effects: &mut Vec<Effect>) {
        let relays: BTreeSet<&RelayId> = self.roster.subscribers().relays().collect();
        for relay in relays.into_iter().filter(|relay| !but.contains(relay)) {
            self.resume(relay.clone(), self.position, false, effects);
        }
    }

    /// Sends a relay what it lacks, and how the channel goes on.
    pub(super) fn resume(
        &self,
        relay: RelayId,
        last: Position,
        is_on_path: bool,
        effects: &mut Vec<Effect>,
    ) {
        let last = if is_on_path { last } else { self.position };
        let missed = self.memory.iter().filter(|publication| publication.position > last);
        for publication in missed {
            let delivery = Delivery::Published(Arc::clone(publication));
            effects.push(Effect::Relay { to: relay.clone(), delivery });
        }
        let resumed = Resumed {
            position: self.position,
            members: self.kind.is_presence().then(|| self.roster.members()),
            is_online: !self.signed_in.is_empty(),
            is_diverged: !is_on_path,
        };
        let delivery = Delivery::Resumed(Arc::new(resumed));
        effects.push(Effect::Relay { to: relay, delivery });
    }
}

fn has_role(list: &[Joined], socket: SocketId) -> bool {
    let is_subscriber = |joined: &&Joined| matches!(joined.role, Role::Subscriber(_));
    list.iter().filter(is_subscriber).any(|joined| joined.socket == socket)
}
