//! Clients that stay subscribed, come and go, or go on where they were, and publishers that repeat what was not acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::channel::{Command, Joined, Member, Recovery, Reply, Role, Welcome};
use proto::cluster::message::{Ack, Ask};
use proto::cluster::slot::Slot;
use proto::event::{Data, Draft, Event as Published, Origin, Priority};
use proto::idempotency::RetryKey;
use proto::name::{EventName, UserId};
use proto::{ChannelKey, Moment, Position, RelayId, SocketId};

use super::checker::Connection;
use super::node::{Asking, Life, Then, ToShard};
use super::world::{Event, To, World};

/// How long a question may be asked.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How long members of connections that are gone on with stay.
const GRACE: Duration = Duration::from_secs(3);
/// How long a keyed publish is repeated.
const TRY_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    In,
    Out,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) user: String,
    pub(super) home: usize,
    pub(super) channels: Vec<ChannelKey>,
    pub(super) habit: Habit,
    pub(super) live: Option<Live>,
    /// What it has had last of each channel, if it goes on from there.
    pub(super) places: BTreeMap<ChannelKey, Position>,
    /// The first of the connections that went on from each other.
    session: Option<Connection>,
}

/// What a client does beside listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Nothing.
    Stays,
    /// Leaves channels, and comes again.
    Churns,
    /// Loses its connection, and goes on where it was on the next.
    Resumes,
}

/// A client while it is connected.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) node: usize,
    pub(super) life: RelayId,
    pub(super) connection: Connection,
    pub(super) socket: SocketId,
    /// What the client wants; the last wish of a channel counts.
    wanted: BTreeSet<ChannelKey>,
    /// Requests of a channel: one at a time.
    busy: BTreeMap<ChannelKey, VecDeque<Wish>>,
}

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) is_keyed: bool,
    pub(super) every: Duration,
    pub(super) number: u64,
    /// The publish that is being tried: where, since when, and which attempt it is.
    pub(super) trying: Option<(ChannelKey, Moment, u64)>,
}

impl World {
    pub(super) fn add_client(&mut self, home: usize, user: &str, channels: &[usize], habit: Habit) {
        let channels = channels.iter().map(|&channel| self.keys[channel].clone()).collect();
        let user = user.to_owned();
        let (places, session) = (BTreeMap::new(), None);
        self.clients.push(Client { user, home, channels, habit, live: None, places, session });
        self.after(Duration::ZERO, To::Client(self.clients.len() - 1));
    }

    pub(super) fn add_publisher(&mut self, is_keyed: bool, every: Duration) {
        self.publishers.push(Publisher { is_keyed, every, number: 0, trying: None });
        self.after(Duration::ZERO, To::Publisher(self.publishers.len() - 1));
    }

    /// A node that takes clients: the preferred one, or any.
    fn route(&mut self, preferred: usize) -> Option<usize> {
        let is_ready = |place: &super::world::Place| {
            let life = place.life.as_ref();
            let may_serve = |life: &Life| self.quorum.is_none() || life.has_lease;
            place.paused.is_none()
                && life.is_some_and(|l| l.view.is_some() && !l.is_draining && may_serve(l))
        };
        if self.places.get(preferred).is_some_and(is_ready) {
            return Some(preferred);
        }
        let ready: Vec<usize> =
            (0..self.places.len()).filter(|&node| is_ready(&self.places[node])).collect();
        (!ready.is_empty()).then(|| ready[self.draw.place(ready.len())])
    }

    pub(super) fn step_client(&mut self, client: usize) {
        let habit = self.clients[client].habit;
        if self.clients[client].live.is_none() {
            self.connect(client);
        } else if habit == Habit::Churns && self.is_loaded {
            self.churn(client);
        } else if habit == Habit::Resumes && self.is_loaded && self.draw.one_in(3) {
            // It comes back by itself.
            return self.hang_up(client);
        }
        if habit != Habit::Stays || self.clients[client].live.is_none() {
            let pause = self.draw.millis(100, 900);
            self.after(pause, To::Client(client));
        }
    }

    fn connect(&mut self, client: usize) {
        let Some(node) = self.route(self.clients[client].home) else { return };
        let connection = self.session_of(client);
        let high = self.draw.below(u64::MAX);
        self.connections += 1;
        let low = u128::from(self.connections << 8 | client as u64);
        let socket = SocketId::from_random(u128::from(high) << 64 | low);
        let life = self.life(node);
        let me = life.me.clone();
        life.shards[Life::shard_of(socket)].sockets.insert(socket, Vec::new());
        let (wanted, busy) = (BTreeSet::new(), BTreeMap::new());
        let live = Live { node, life: me, connection, socket, wanted, busy };
        self.clients[client].live = Some(live);
        for key in self.clients[client].channels.clone() {
            self.wish(client, key, Wish::In);
        }
    }

    /// What the checker knows a connection by: those that go on from each other are one.
    fn session_of(&mut self, client: usize) -> Connection {
        if let Some(session) = self.clients[client].session {
            return session;
        }
        self.connections += 1;
        let session = self.connections << 8 | client as u64;
        let resumes = self.clients[client].habit == Habit::Resumes;
        self.clients[client].session = resumes.then_some(session);
        session
    }

    /// A channel has let a client in.
    pub(super) fn welcomed(
        &mut self,
        client: usize,
        key: &ChannelKey,
        joined: &Joined,
        it: &Welcome,
    ) {
        let Some(live) = &self.clients[client].live else { return };
        let (connection, now, members) = (live.connection, self.now, it.members.as_deref());
        if !self.checker.is_subscribed(connection, key) {
            self.checker.subscribed((connection, key), it.position, members, now);
            return self.had(client, key, it.position);
        }
        match &it.recovery {
            Some(Recovery::Whole(missed)) => {
                self.checker.resumed(connection, key, members);
                for publication in missed {
                    self.checker.received(connection, key, publication);
                }
                self.had(client, key, it.position);
            }
            // It lost something, is told so, and begins anew.
            Some(Recovery::Gap) => {
                self.checker.gaps += 1;
                self.checker.left(connection, key, now);
                self.checker.subscribed((connection, key), it.position, members, now);
                self.had(client, key, it.position);
            }
            None => assert!(joined.since.is_none(), "a place that was said is answered"),
        }
    }

    /// A client has had everything of a channel up to here.
    pub(super) fn had(&mut self, client: usize, key: &ChannelKey, position: Position) {
        if self.clients[client].habit == Habit::Resumes {
            self.clients[client].places.insert(key.clone(), position);
        }
    }

    fn churn(&mut self, client: usize) {
        for key in self.clients[client].channels.clone() {
            let Some(live) = &self.clients[client].live else { return };
            let (connection, is_in) = (live.connection, live.wanted.contains(&key));
            if is_in {
                let now = self.now;
                self.checker.left(connection, &key, now);
            }
            self.wish(client, key, if is_in { Wish::Out } else { Wish::In });
        }
    }

    /// Asks for something, after what was asked for the same channel before.
    fn wish(&mut self, client: usize, key: ChannelKey, wish: Wish) {
        let Some(live) = &mut self.clients[client].live else { return };
        match wish {
            Wish::In => live.wanted.insert(key.clone()),
            Wish::Out => live.wanted.remove(&key),
        };
        let queue = live.busy.entry(key.clone()).or_default();
        queue.push_back(wish);
        if queue.len() == 1 {
            self.begin(client, key, wish);
        }
    }

    fn begin(&mut self, client: usize, key: ChannelKey, wish: Wish) {
        let user = UserId::parse(&self.clients[client].user).unwrap();
        let Some(live) = &self.clients[client].live else { return };
        let (node, socket, connection) = (live.node, live.socket, live.connection);
        if wish == Wish::In {
            self.checker.asked(connection, &key, self.now);
        }
        let is_presence = key.channel.kind().is_presence();
        let member = is_presence.then(|| Arc::new(Member::new(user, None)));
        let resumes = self.clients[client].habit == Habit::Resumes;
        let since = self.clients[client].places.get(&key).copied();
        let number = self.life(node).number();
        let message = match wish {
            Wish::In => {
                let role = Role::Subscriber(member);
                let role = if resumes { role.with_grace(GRACE) } else { role };
                let joined = Joined { since, ..Joined::new(socket, role) };
                ToShard::Join(key, joined, (client as u64) << 32 | number)
            }
            Wish::Out => ToShard::Unsubscribe(key, socket, (client as u64) << 32 | number),
        };
        self.put_to_shard(node, Life::shard_of(socket), message);
    }

    /// A request has been answered; the next one of the channel begins.
    pub(super) fn wish_done(&mut self, client: usize, key: &ChannelKey, socket: SocketId) {
        let Some(live) = &mut self.clients[client].live else { return };
        if live.socket != socket {
            return;
        }
        let Some(queue) = live.busy.get_mut(key) else { return };
        queue.pop_front();
        if let Some(&next) = queue.front() {
            self.begin(client, key.clone(), next);
        }
    }

    /// A subscription was refused: the client tries again if it still wants to.
    pub(super) fn refused(&mut self, client: usize, key: &ChannelKey, socket: SocketId) {
        self.wish_done(client, key, socket);
        let Some(live) = &self.clients[client].live else { return };
        let is_idle = live.busy.get(key).is_none_or(VecDeque::is_empty);
        if live.socket == socket && live.wanted.contains(key) && is_idle {
            self.wish(client, key.clone(), Wish::In);
        }
    }

    pub(super) fn client_of(&self, socket: SocketId) -> Option<usize> {
        let is_it = |client: &Client| client.live.as_ref().is_some_and(|l| l.socket == socket);
        self.clients.iter().position(is_it)
    }

    /// Whether an answer to a subscription is the answer to the last wish.
    pub(super) fn is_wanted(&self, client: usize, key: &ChannelKey) -> bool {
        let Some(live) = &self.clients[client].live else { return false };
        let later = live.busy.get(key).map_or(0, |queue| queue.len().saturating_sub(1));
        live.wanted.contains(key) && later == 0
    }

    /// The server, or the end of it, has closed a connection.
    pub(super) fn hang_up(&mut self, client: usize) {
        let Some(live) = self.clients[client].live.take() else { return };
        if self.clients[client].session.is_none() {
            let now = self.now;
            self.checker.closed(live.connection, now);
        }
        let place = &self.places[live.node];
        if place.life.as_ref().is_some_and(|life| life.me == live.life) {
            let detach = ToShard::Detach(live.socket);
            self.put_to_shard(live.node, Life::shard_of(live.socket), detach);
        }
        let pause = self.draw.millis(20, 400);
        self.after(pause, To::Client(client));
    }

    /// All connections of a life of a node are gone.
    pub(super) fn hang_up_all(&mut self, id: &RelayId) {
        for client in 0..self.clients.len() {
            if self.clients[client].live.as_ref().is_some_and(|live| live.life == *id) {
                self.hang_up(client);
            }
        }
    }

    pub(super) fn step_publisher(&mut self, publisher: usize) {
        if self.is_loaded && self.publishers[publisher].trying.is_none() {
            let number = self.publishers[publisher].number;
            self.publishers[publisher].number += 1;
            let key = self.keys[self.draw.place(self.keys.len())].clone();
            let now = self.now;
            self.checker.sent((publisher, number), &key, now);
            self.publishers[publisher].trying = Some((key, now, 0));
            self.attempt(publisher);
        }
        let pause = self.publishers[publisher].every;
        self.after(pause, To::Publisher(publisher));
    }

    /// The pause before another attempt is over.
    pub(super) fn retry(&mut self, publisher: usize, attempt: u64) {
        let trying = &self.publishers[publisher].trying;
        if trying.as_ref().is_some_and(|(_, _, current)| *current == attempt) {
            self.attempt(publisher);
        }
    }

    fn attempt(&mut self, publisher: usize) {
        let state = &mut self.publishers[publisher];
        let number = state.number - 1;
        let Some((key, _, attempt)) = &mut state.trying else { return };
        let (key, attempt) = (key.clone(), *attempt);
        let text = format!("{publisher}-{number}");
        let retry = state.is_keyed.then(|| Arc::new(RetryKey { key: text.clone(), item: 0 }));
        let name = EventName::parse("e").unwrap();
        let event = Published { name, data: Data::Text(text.into()) };
        let (origin, priority) = (Origin::Api { except: None }, Priority::Normal);
        let is_repeatable = retry.is_some();
        let draft = Draft { id: 0, event, origin, ttl_ms: 0, priority, retry };
        let preferred = self.draw.place(self.places.len());
        let Some(node) = self.route(preferred) else {
            return self.published(publisher, attempt, None);
        };
        self.note(|| format!("({publisher}, {number}) is published through node {node}"));
        let ask = Ask::Channel {
            key: key.clone(),
            command: Command::Publish(draft),
            ack: Some(Ack::Replicated),
        };
        let (slot, then) = (Slot::of(&key), Then::Publish(publisher, attempt));
        let deadline = self.now + DEADLINE;
        self.ask(node, Asking { slot, ask, is_repeatable, deadline, then });
    }

    /// An attempt to publish is over.
    pub(super) fn published(
        &mut self,
        publisher: usize,
        attempt: u64,
        answer: Option<&(Reply, Ack)>,
    ) {
        let state = &mut self.publishers[publisher];
        let Some((_, since, current)) = &mut state.trying else { return };
        if *current != attempt {
            return;
        }
        let (since, number) = (*since, state.number - 1);
        let is_keyed = state.is_keyed;
        self.note(|| format!("({publisher}, {number}) is answered {answer:?}"));
        let state = &mut self.publishers[publisher];
        if let Some((Reply::Published(published), Ack::Replicated)) = answer {
            state.trying = None;
            let now = self.now;
            return self.checker.acknowledged((publisher, number), published.position, now);
        }
        if !is_keyed {
            state.trying = None;
            return;
        }
        // A new owner waits until the lease of the old one is over.
        let try_max = if self.quorum.is_some() { TRY_MAX * 2 } else { TRY_MAX };
        if self.now.since(since) > try_max {
            let what = format!("publish {publisher}-{number} was not acknowledged in {try_max:?}");
            return self.checker.wrong(what);
        }
        if let Some((_, _, current)) = &mut state.trying {
            *current = attempt + 1;
        }
        self.after(Duration::from_millis(50), To::Retry(publisher, attempt + 1));
    }

    pub(super) fn every_event_is_done(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.trying.is_none())
    }

    pub(super) fn deadline_of(&mut self, node: usize, asking: u64, due: Moment) {
        if let Some(life) = &self.places[node].life {
            let to = To::Life(node, life.me.incarnation, Event::Deadline(asking));
            self.at(due, to);
        }
    }
}
