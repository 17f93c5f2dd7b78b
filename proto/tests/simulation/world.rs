//! The world: nodes, clients and publishers in one thread, on one virtual time, from one seed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::channel::{History, Settings};
use proto::cluster::quorum::Quorum;
use proto::cluster::slot::{Slot, StableHash};
use proto::cluster::view::{Member, View};
use proto::{AppId, ChannelKey, ChannelName, Moment, NodeId, Now, RelayId, SocketId};

use super::checker::Checker;
use super::client::{Client, Publisher};
use super::draw::Draw;
use super::network::Network;
use super::node::Life;

/// What is broken in the protocol itself, to see that the checkers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    /// A publish is acknowledged though no successor was sent anything.
    SkipReplica,
    /// A relay takes what anyone sends, whoever owns the slot and whichever way the channel has come.
    DropFence,
    /// A part of every relay forgets to say who is there.
    ForgetRelay,
    /// A connection that is closed for a gap gets what comes after it, until it is closed.
    DeliverAfterGap,
}

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick,
    Gossip,
    Drive(RelayId),
    Actor(u64),
    ActorTick(u64),
    Shard(usize),
    Close(SocketId),
    Task(u64),
    Answer(u64, proto::cluster::message::Answer),
    Again(u64),
    Deadline(u64),
    Webhook,
    Down(RelayId, u64),
    Dialled(RelayId),
}

/// To whom it happens.
#[derive(Clone, Debug)]
pub(super) enum To {
    /// A life of a node.
    Life(usize, u64, Event),
    /// An end of a session.
    Arrive(u64, usize, RelayId, usize),
    Client(usize),
    Publisher(usize),
    Retry(usize, u64),
}

/// A node, whatever life it is in.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: NodeId,
    pub(super) life: Option<Life>,
    /// Since when it has been stopped.
    pub(super) paused: Option<Moment>,
    /// What has happened to it meanwhile.
    pub(super) deferred: Vec<To>,
    /// How far its monotonic clock is ahead of the world's.
    pub(super) ahead: Duration,
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) draw: Draw,
    pub(super) network: Network,
    pub(super) places: Vec<Place>,
    pub(super) keys: Vec<ChannelKey>,
    pub(super) clients: Vec<Client>,
    pub(super) publishers: Vec<Publisher>,
    pub(super) connections: u64,
    pub(super) checker: Checker,
    pub(super) mutation: Option<Mutation>,
    /// How many nodes there are, if only a majority may serve.
    pub(super) quorum: Option<Quorum>,
    pub(super) is_loaded: bool,
    /// The last things that happened, when somebody wants to read them.
    pub(super) trace: Option<VecDeque<String>>,
    /// What has happened so far, as one number.
    pub(super) digest: StableHash,
    events: BTreeMap<(Moment, u64), To>,
    count: u64,
    views: BTreeMap<Vec<Member>, Option<Arc<View>>>,
}

/// Lines of a trace that are kept.
const TRACE_LINES: usize = 20000;

impl World {
    pub(super) fn new(seed: u64, mutation: Option<Mutation>, is_traced: bool) -> Self {
        let app = AppId::parse("app").unwrap();
        let key = |name: &str| ChannelKey {
            app: app.clone(),
            channel: ChannelName::parse(name).unwrap(),
        };
        let names = ["hot", "presence-room", "room", "cache-price"];
        Self {
            now: Moment::from_micros(1_000_000),
            draw: Draw::new(seed),
            network: Network::default(),
            places: Vec::new(),
            keys: names.map(key).into(),
            clients: Vec::new(),
            publishers: Vec::new(),
            connections: 0,
            checker: Checker::default(),
            mutation,
            quorum: None,
            is_loaded: false,
            trace: is_traced.then(VecDeque::new),
            digest: StableHash::default(),
            events: BTreeMap::new(),
            count: 0,
            views: BTreeMap::new(),
        }
    }

    pub(super) fn settings() -> Settings {
        Settings {
            history: History { events: 128, seconds: 120, bytes: 65_536 },
            presence_members: 100,
            cache_for: Duration::from_secs(1_800),
            subscription_count: false,
            webhooks: true,
        }
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.keys.iter().map(Slot::of).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    pub(super) fn add_place(&mut self) -> usize {
        let number = self.places.len();
        let id = NodeId::parse(&format!("node-{}", number + 1)).unwrap();
        let ahead = self.draw.millis(1_000, 90_000_000);
        self.places.push(Place { id, life: None, paused: None, deferred: Vec::new(), ahead });
        number
    }

    /// The time as a node has it.
    pub(super) fn now_of(&self, node: usize) -> Now {
        let moment = self.now + self.places[node].ahead;
        Now { moment, unix_ms: 1_700_000_000_000 + self.now.micros() / 1_000 }
    }

    pub(super) fn at(&mut self, due: Moment, to: To) {
        self.count += 1;
        self.events.insert((due.max(self.now), self.count), to);
    }

    pub(super) fn after(&mut self, delay: Duration, to: To) {
        self.at(self.now + delay, to);
    }

    /// Something that happens to the present life of a node.
    pub(super) fn life_after(&mut self, node: usize, delay: Duration, event: Event) {
        if let Some(life) = &self.places[node].life {
            let to = To::Life(node, life.me.incarnation, event);
            self.after(delay, to);
        }
    }

    pub(super) fn soon(&mut self, node: usize, event: Event) {
        let turn = self.draw.turn();
        self.life_after(node, turn, event);
    }

    pub(super) fn life(&mut self, node: usize) -> &mut Life {
        self.places[node].life.as_mut().expect("the node lives")
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() >= TRACE_LINES {
                trace.pop_front();
            }
            trace.push_back(format!("{:>10} {}", self.now.micros(), what()));
        }
    }

    pub(super) fn view_of(&mut self, members: &[Member]) -> Option<Arc<View>> {
        let known = self.views.entry(members.to_vec());
        known.or_insert_with(|| View::new(members.to_vec()).map(Arc::new)).clone()
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
            && self.checker.violations.is_empty()
        {
            let ((due, number), to) = entry.remove_entry();
            self.now = due;
            self.digest.write(&due.micros().to_le_bytes());
            self.digest.write(&number.to_le_bytes());
            self.happen(to);
        }
        self.now = end;
    }

    /// Lets time pass until something is true; false if it did not become true.
    pub(super) fn run_until(
        &mut self,
        patience: Duration,
        is_true: impl Fn(&Self) -> bool,
    ) -> bool {
        let end = self.now + patience;
        while !is_true(self) {
            if self.now >= end || !self.checker.violations.is_empty() {
                return false;
            }
            self.run_for(Duration::from_millis(20));
        }
        true
    }

    fn happen(&mut self, to: To) {
        let node = match &to {
            To::Life(node, ..) | To::Arrive(_, node, ..) => *node,
            To::Client(client) => return self.step_client(*client),
            To::Publisher(publisher) => return self.step_publisher(*publisher),
            To::Retry(publisher, attempt) => return self.retry(*publisher, *attempt),
        };
        if self.places[node].paused.is_some() {
            return self.places[node].deferred.push(to);
        }
        match to {
            To::Life(node, incarnation, event) => {
                let life = self.places[node].life.as_ref();
                if life.is_some_and(|life| life.me.incarnation == incarnation) {
                    self.live(node, event);
                }
            }
            To::Arrive(session, node, id, lane) => self.arrive(session, node, &id, lane),
            To::Client(_) | To::Publisher(_) | To::Retry(..) => {}
        }
    }
}
