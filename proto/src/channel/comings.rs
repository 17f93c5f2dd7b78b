//! Who comes into a channel and who goes, and who is told of it.

use std::sync::Arc;

use crate::http::webhook::Happening;
use crate::name::{RelayId, SocketId, UserId};
use crate::refusal::{Refusal, SESSION_IS_HELD};
use crate::time::{Moment, Now};

use super::Channel;
use super::command::{Cached, Delivery, Effect, Joined, Member, Reply, Role, Welcome};
use super::roster::{Join, Leave};

impl Channel {
    pub(super) fn join(
        &mut self,
        relay: RelayId,
        joined: Joined,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        if let Role::Subscriber(member) = &joined.role
            && let Err(refusal) = self.check_room_for(member.as_ref())
        {
            return Reply::Refused(refusal);
        }
        if self.is_held_by_another(&relay, &joined) {
            return Reply::Refused(Refusal::Rule(SESSION_IS_HELD));
        }
        self.enter(relay, joined, now, effects);
        Reply::Done
    }

    /// Whether a connection would share a session with another one: two that look at the same time
    /// both find that nobody holds it.
    pub(super) fn is_held_by_another(&self, relay: &RelayId, joined: &Joined) -> bool {
        joined.role == Role::SignedIn
            && self.kind.is_session()
            && !self.signed_in.is_empty()
            && !self.signed_in.has(relay, joined.socket)
    }

    /// Takes a connection in and welcomes it.
    pub(super) fn enter(
        &mut self,
        relay: RelayId,
        joined: Joined,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let subscribers = self.roster.subscribers().len();
        let welcome = Arc::new(self.admit(&relay, &joined, now, effects));
        let delivery = Delivery::Welcome { joined, welcome };
        effects.push(Effect::Relay { to: relay, delivery });
        if self.roster.subscribers().len() != subscribers {
            self.count_changed(now.moment, effects);
        }
    }

    pub(super) fn admit(
        &mut self,
        relay: &RelayId,
        joined: &Joined,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Welcome {
        match &joined.role {
            Role::Subscriber(member) => {
                let at = (now.moment, effects);
                let welcome = self.subscribe(relay, joined.socket, member.as_ref(), at);
                welcome.with(self.recovery(joined, now.moment))
            }
            Role::SignedIn => {
                let was_online = !self.signed_in.is_empty();
                self.signed_in.insert(relay, joined.socket);
                if !was_online {
                    self.tell(&self.watchers, &Delivery::Online(true), effects);
                }
                Welcome::default()
            }
            Role::Watcher => {
                self.watchers.insert(relay, joined.socket);
                let is_online = !self.signed_in.is_empty();
                Welcome { is_online, ..Welcome::default() }
            }
        }
    }

    fn subscribe(
        &mut self,
        relay: &RelayId,
        socket: SocketId,
        member: Option<&Arc<Member>>,
        (now, effects): (Moment, &mut Vec<Effect>),
    ) -> Welcome {
        let mut happenings = Vec::new();
        let join = self.roster.join(relay, socket, member);
        if join != Join::Known && self.roster.subscribers().len() == 1 {
            self.memory.occupied();
            self.edges.occupied(&mut happenings);
        }
        if let (Join::Member, Some(member)) = (join, member) {
            self.edges.member_added(&member.user, &mut happenings);
            let member = Arc::clone(member);
            if self.roster.subscribers().len() > 1 {
                let delivery = Delivery::MemberAdded { member, except: socket };
                self.tell_subscribers(&delivery, effects);
            }
        }
        // A connection that was in already has had the cached event.
        let is_cache_due = self.kind.cache && join != Join::Known;
        let cached = is_cache_due.then(|| self.look_up_cache(now, &mut happenings));
        self.report(happenings, effects);
        Welcome {
            position: self.position,
            members: self.kind.is_presence().then(|| self.roster.members()),
            cached,
            subscribers: self.roster.subscribers().len(),
            ..Welcome::default()
        }
    }

    fn check_room_for(&self, member: Option<&Arc<Member>>) -> Result<(), Refusal> {
        let limit = self.settings.presence_members;
        let is_new = member.is_some_and(|member| !self.roster.has_member(&member.user));
        if is_new && self.roster.member_count() >= limit {
            return Err(Refusal::PresenceFull { limit });
        }
        Ok(())
    }

    fn look_up_cache(&mut self, now: Moment, happenings: &mut Vec<Happening>) -> Cached {
        let cached = self.memory.cached(now, &self.settings);
        if cached.is_none() {
            self.edges.cache_missed(happenings);
        }
        cached.map_or(Cached::Miss, Cached::Hit)
    }

    /// A connection is gone, and may come back.
    pub(super) fn lose(
        &mut self,
        relay: &RelayId,
        socket: SocketId,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let left = self.roster.lose(relay, socket, now);
        self.left(left, now, effects);
        self.watchers.remove(relay, socket);
        if self.signed_in.remove(relay, socket) && self.signed_in.is_empty() {
            self.tell(&self.watchers, &Delivery::Online(false), effects);
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        relay: &RelayId,
        socket: SocketId,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let left = self.roster.leave(relay, socket);
        self.left(left, now, effects);
    }

    fn left(&mut self, left: Leave, now: Moment, effects: &mut Vec<Effect>) {
        let user = match left {
            Leave::Unknown => return,
            Leave::Subscriber => None,
            Leave::Member(user) => Some(user),
        };
        self.remove_members(user, now, effects);
        if self.roster.subscribers().is_empty() {
            self.memory.vacated(now);
        }
        self.check_vacated(now);
        self.count_changed(now, effects);
    }

    /// The users whose grace is over are gone.
    pub(super) fn end_graces(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let gone = self.roster.tick(now);
        if !gone.is_empty() {
            self.remove_members(gone, now, effects);
            self.check_vacated(now);
        }
    }

    fn check_vacated(&mut self, now: Moment) {
        if self.roster.is_vacant() {
            self.edges.vacated(now);
        }
    }

    fn remove_members(
        &mut self,
        users: impl IntoIterator<Item = UserId>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let mut happenings = Vec::new();
        for user in users {
            let delivery = Delivery::MemberRemoved { user: user.clone(), info: None };
            self.tell_subscribers(&delivery, effects);
            self.edges.member_removed(user, now, &mut happenings);
        }
        self.report(happenings, effects);
    }
}
