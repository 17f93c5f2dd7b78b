//! What is seen from outside, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};

use proto::channel::{Channel, Member};
use proto::event::{Data, Publication};
use proto::http::webhook::{Edge, Happening};
use proto::{ChannelKey, Moment, Position};

/// One connection of a client; one that comes back is another.
pub(super) type Connection = u64;

/// What a publisher called an event.
pub(super) type Mark = (usize, u64);

/// What a connection has of a channel.
#[derive(Debug)]
struct Subscription {
    /// When it was asked for.
    asked: Moment,
    since: Moment,
    until: Option<Moment>,
    last: Position,
    got: BTreeSet<Mark>,
    members: Option<BTreeSet<String>>,
}

#[derive(Clone, Debug)]
struct Published {
    channel: ChannelKey,
    sent: Moment,
    /// When it was acknowledged.
    done: Option<Moment>,
    is_acknowledged: bool,
    position: Option<Position>,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    subscriptions: BTreeMap<(Connection, ChannelKey), Vec<Subscription>>,
    /// When connections first asked to be let in where they are not.
    asked: BTreeMap<(Connection, ChannelKey), Moment>,
    /// What each place of a channel was given to.
    places: BTreeMap<(ChannelKey, Position), Mark>,
    published: BTreeMap<Mark, Published>,
    /// What each webhook id said.
    edges: BTreeMap<String, String>,
    /// Whether each subject of webhooks is there, as they said last.
    subjects: BTreeMap<String, bool>,
    /// Two nodes may have served the same channel: both have told the application.
    pub(super) is_cut: bool,
    pub(super) violations: Vec<String>,
    pub(super) delivered: u64,
    pub(super) acknowledged: u64,
    pub(super) gaps: u64,
    /// How often a client went on where it was.
    pub(super) resumed: u64,
}

pub(super) fn mark_of(publication: &Publication) -> Mark {
    let (Data::Text(text) | Data::Json(text)) = &publication.draft.event.data;
    let (publisher, number) = text.split_once('-').unwrap();
    (publisher.parse().unwrap(), number.parse().unwrap())
}

fn names(members: &[std::sync::Arc<Member>]) -> BTreeSet<String> {
    members.iter().map(|member| member.user.to_string()).collect()
}

impl Checker {
    pub(super) fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(super) fn asked(&mut self, connection: Connection, key: &ChannelKey, now: Moment) {
        self.asked.entry((connection, key.clone())).or_insert(now);
    }

    pub(super) fn subscribed(
        &mut self,
        place: (Connection, &ChannelKey),
        last: Position,
        members: Option<&[std::sync::Arc<Member>]>,
        now: Moment,
    ) {
        let (connection, key) = place;
        let all = self.subscriptions.entry((connection, key.clone())).or_default();
        if all.last().is_some_and(|subscription| subscription.until.is_none()) {
            return self.wrong(format!("{connection} was welcomed twice in {key:?}"));
        }
        let (got, members) = (BTreeSet::new(), members.map(names));
        let asked = self.asked.remove(&(connection, key.clone())).unwrap_or(now);
        all.push(Subscription { asked, since: now, until: None, last, got, members });
    }

    /// A client goes on where it was, and is told who is there.
    pub(super) fn resumed(
        &mut self,
        connection: Connection,
        key: &ChannelKey,
        members: Option<&[std::sync::Arc<Member>]>,
    ) {
        self.resumed += 1;
        self.asked.remove(&(connection, key.clone()));
        if let Some(subscription) = self.open(connection, key) {
            subscription.members = members.map(names);
        }
    }

    fn open(&mut self, connection: Connection, key: &ChannelKey) -> Option<&mut Subscription> {
        let last = self.subscriptions.get_mut(&(connection, key.clone()))?.last_mut()?;
        last.until.is_none().then_some(last)
    }

    pub(super) fn left(&mut self, connection: Connection, key: &ChannelKey, now: Moment) {
        if let Some(subscription) = self.open(connection, key) {
            subscription.until = Some(now);
        }
    }

    pub(super) fn closed(&mut self, connection: Connection, now: Moment) {
        let range = self.subscriptions.iter_mut().filter(|((of, _), _)| *of == connection);
        for subscription in range.flat_map(|(_, all)| all) {
            subscription.until.get_or_insert(now);
        }
    }

    pub(super) fn is_subscribed(&self, connection: Connection, key: &ChannelKey) -> bool {
        let all = self.subscriptions.get(&(connection, key.clone()));
        all.and_then(|all| all.last()).is_some_and(|subscription| subscription.until.is_none())
    }

    pub(super) fn received(&mut self, connection: Connection, key: &ChannelKey, it: &Publication) {
        let (mark, position) = (mark_of(it), it.position);
        let first = *self.places.entry((key.clone(), position)).or_insert(mark);
        if first != mark {
            self.wrong(format!("{position:?} of {key:?} is {first:?} and {mark:?}"));
        }
        self.delivered += 1;
        let done = self.published.get(&mark).and_then(|published| published.done);
        let Some(subscription) = self.open(connection, key) else { return };
        let asked = subscription.asked;
        let (last, is_new) = (subscription.last, subscription.got.insert(mark));
        subscription.last = position;
        if position <= last {
            self.wrong(format!("{connection} got {position:?} after {last:?} in {key:?}"));
        }
        if done.is_some_and(|done| done < asked) {
            self.wrong(format!(
                "{connection} got {mark:?} of {key:?}, which was over when it came"
            ));
        }
        if !is_new {
            self.wrong(format!("{connection} got {mark:?} twice in {key:?}, last at {position:?}"));
        }
    }

    pub(super) fn member(
        &mut self,
        connection: Connection,
        key: &ChannelKey,
        user: &str,
        is_added: bool,
    ) {
        let Some(subscription) = self.open(connection, key) else { return };
        let Some(members) = &mut subscription.members else { return };
        let is_change =
            if is_added { members.insert(user.to_owned()) } else { members.remove(user) };
        if !is_change {
            self.wrong(format!("{connection} was told again that {user} added={is_added}"));
        }
    }

    pub(super) fn sent(&mut self, mark: Mark, channel: &ChannelKey, now: Moment) {
        let (channel, position) = (channel.clone(), None);
        let (sent, done) = (now, None);
        let published = Published { channel, sent, done, is_acknowledged: false, position };
        self.published.insert(mark, published);
    }

    pub(super) fn acknowledged(&mut self, mark: Mark, position: Option<Position>, now: Moment) {
        self.acknowledged += 1;
        if let Some(published) = self.published.get_mut(&mark) {
            published.is_acknowledged = true;
            published.done = Some(now);
            published.position = position;
        }
    }

    /// Where only a majority may serve, or nobody was cut off, everything acknowledged lies on one way.
    pub(super) fn judge_ways(&mut self, owners: &[(ChannelKey, Option<&Channel>)]) {
        for (mark, published) in self.published.iter().filter(|(_, p)| p.is_acknowledged) {
            let owner = owners.iter().find(|(key, _)| *key == published.channel);
            let owner = owner.and_then(|(_, channel)| *channel);
            let Some((channel, position)) = owner.zip(published.position) else { continue };
            if !channel.has_come_by(position) {
                let key = &published.channel;
                let what =
                    format!("{mark:?} was acknowledged at {position:?}, where {key:?} never was");
                self.violations.push(what);
            }
        }
    }

    pub(super) fn hook(&mut self, app: &str, edge: &Edge) {
        let (subject, is_there) = match &edge.happening {
            Happening::ChannelOccupied => (edge.channel.to_string(), true),
            Happening::ChannelVacated => (edge.channel.to_string(), false),
            Happening::MemberAdded { user_id } => (format!("{} {user_id}", edge.channel), true),
            Happening::MemberRemoved { user_id } => (format!("{} {user_id}", edge.channel), false),
            Happening::ClientEvent { .. }
            | Happening::CacheMiss
            | Happening::SubscriptionCount { .. } => return,
        };
        let (id, said) = (format!("{app} {:?}", edge.id), format!("{subject} {is_there}"));
        let key = format!("{} {id}", edge.channel);
        if let Some(before) = self.edges.insert(key, said.clone()) {
            if before != said {
                self.wrong(format!("webhook {id} said {before} and {said}"));
            }
            return;
        }
        let was_there = self.subjects.insert(subject.clone(), is_there).unwrap_or(false);
        if was_there == is_there && !self.is_cut {
            self.wrong(format!("webhooks said {subject} there={is_there} twice, last {id}"));
        }
    }

    /// The users, and the number of connections, that are in a channel.
    fn truth(
        &self,
        key: &ChannelKey,
        user_of: &impl Fn(Connection) -> String,
    ) -> (BTreeSet<String>, usize) {
        let is_there = |all: &[Subscription]| all.last().is_some_and(|s| s.until.is_none());
        let present: Vec<Connection> = self
            .subscriptions
            .iter()
            .filter(|((_, of), all)| of == key && is_there(all))
            .map(|((connection, _), _)| *connection)
            .collect();
        (present.iter().map(|connection| user_of(*connection)).collect(), present.len())
    }

    /// When all is quiet: nothing acknowledged is missing, and everybody knows who is there.
    pub(super) fn judge(
        &mut self,
        user_of: impl Fn(Connection) -> String,
        owners: &[(ChannelKey, Option<&Channel>)],
    ) {
        let mut wrong = Vec::new();
        for (mark, published) in self.published.iter().filter(|(_, p)| p.is_acknowledged) {
            for ((connection, key), all) in &self.subscriptions {
                let Some(last) = all.last().filter(|last| last.until.is_none()) else { continue };
                let had_to = *key == published.channel && last.since < published.sent;
                if had_to && !last.got.contains(mark) {
                    wrong.push(format!("{mark:?} was acknowledged and {connection} lacks it"));
                }
            }
        }
        for (key, owner) in owners {
            let (users, connections) = self.truth(key, &user_of);
            let count = owner.map_or(0, Channel::subscriber_count);
            if count != connections {
                wrong.push(format!("{key:?} counts {count} of {connections} subscribers"));
            }
            let is_presence = key.channel.kind().is_presence();
            let members = owner.map_or(0, Channel::member_count);
            if is_presence && members != users.len() {
                wrong.push(format!("{key:?} counts {members} members of {users:?}"));
            }
            for ((connection, of), all) in &self.subscriptions {
                let Some(last) = all.last().filter(|last| last.until.is_none()) else { continue };
                if of == key && last.members.as_ref().is_some_and(|shown| *shown != users) {
                    let shown = &last.members;
                    wrong.push(format!(
                        "{connection} shows {shown:?} instead of {users:?} in {key:?}"
                    ));
                }
            }
            let members = users.iter().filter(|_| is_presence);
            let members = members.map(|user| format!("{} {user}", key.channel));
            let occupied = Some(key.channel.to_string()).filter(|_| connections > 0);
            for subject in members.chain(occupied) {
                if self.subjects.get(&subject) != Some(&true) {
                    wrong.push(format!("the last webhook does not say that {subject} is there"));
                }
            }
        }
        let ghosts = self.subjects.iter().filter(|&(_, &is_there)| is_there);
        for (subject, _) in ghosts {
            let (channel, user) = subject.split_once(' ').unwrap_or((subject, ""));
            let key = owners.iter().map(|(key, _)| key).find(|key| key.channel.as_str() == channel);
            let Some(key) = key else { continue };
            let (users, connections) = self.truth(key, &user_of);
            let is_there = if user.is_empty() { connections > 0 } else { users.contains(user) };
            if !is_there {
                wrong.push(format!("a webhook says that {subject} is there"));
            }
        }
        self.violations.extend(wrong);
    }
}
