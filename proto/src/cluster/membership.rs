//! Who is in the cluster, as this node sees it: from what gossip says and from how its own links do.
//!
//! A closed link is a hint: the peer is dialled again. A peer leaves the view when it refuses
//! three times, or when gossip does not hear it, or when its link has been lost for
//! 1.5 s and at least half of the other members have lost it too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::name::{NodeId, RelayId};
use crate::time::Moment;

use super::quorum::Quorum;
use super::view::{Member, Phase};

/// Refused attempts after which the process of a peer is gone.
const REFUSALS: u32 = 3;
/// The pause between two attempts.
const DIAL_EVERY: Duration = Duration::from_millis(50);
/// The pause after attempts that were not answered.
const DIAL_SLOWLY: Duration = Duration::from_millis(500);
/// How much later the node dials that usually does not, so that two do not meet.
const SECOND_DIALS_AFTER: Duration = Duration::from_millis(25);
/// Nodes that start together begin a cluster when none of them was new for so long: by then each has
/// heard of all, and they do not begin as two.
const FOUND_ALL_AFTER: Duration = Duration::from_secs(1);
/// How long a link may be lost before the others are asked what they think.
const LOST_AFTER: Duration = Duration::from_millis(1_500);

/// What gossip says of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which life of which node.
    pub id: RelayId,
    /// Where it accepts links.
    pub address: SocketAddr,
    /// What it says of itself.
    pub phase: Phase,
    /// Whether gossip hears of it.
    pub is_live: bool,
    /// Nodes to which it has lost its link.
    pub suspects: Vec<NodeId>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Input {
    /// All that gossip knows of other nodes.
    Gossip(Vec<Seen>),
    /// A peer has said how far it has come, and who its members are.
    Said(RelayId, Phase, Vec<RelayId>),
    /// There is a connection to this peer.
    Up(RelayId),
    /// The connection to this peer is gone.
    Down(RelayId),
    /// An attempt to connect has failed.
    DialFailed {
        /// To whom.
        peer: RelayId,
        /// Whether it was refused at once: its process is not there.
        refused: bool,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Try to connect.
    Dial(RelayId, SocketAddr),
    /// This node has been replaced by a later life of itself.
    Superseded,
}

#[derive(Clone, Debug, Default)]
struct Tie {
    is_up: bool,
    was_up: bool,
    lost_at: Option<Moment>,
    refusals: u32,
    dial_at: Moment,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Membership {
    me: RelayId,
    phase: Phase,
    started: Moment,
    bootstrap_after: Duration,
    /// How many nodes there are, if only a majority may serve.
    quorum: Option<Quorum>,
    is_rejected: bool,
    /// When a node was heard of that was not known before.
    found_at: Moment,
    seen: BTreeMap<RelayId, Seen>,
    ties: BTreeMap<RelayId, Tie>,
    /// What peers have said themselves: it may be ahead of gossip, never behind.
    said: BTreeMap<RelayId, (Phase, Vec<RelayId>)>,
    /// Peers in the view. One that has left comes back with a connection, not with a rumour.
    members: BTreeSet<RelayId>,
}

impl Membership {
    /// A node that knows nobody yet. It begins a cluster if it finds nobody for `bootstrap_after`,
    /// and serves from `start` at the earliest.
    #[must_use]
    pub const fn new(
        me: RelayId,
        (bootstrap_after, quorum): (Duration, Option<Quorum>),
        start: Moment,
    ) -> Self {
        Self {
            me,
            phase: Phase::Joining,
            started: start,
            bootstrap_after,
            quorum,
            is_rejected: false,
            found_at: start,
            seen: BTreeMap::new(),
            ties: BTreeMap::new(),
            said: BTreeMap::new(),
            members: BTreeSet::new(),
        }
    }

    /// This node's phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// This node gives its slots away and stops.
    pub const fn drain(&mut self) {
        self.phase = Phase::Draining;
    }

    /// A seed answered and will not have this node: it does not begin a cluster of its own.
    pub const fn rejected(&mut self) {
        self.is_rejected = true;
    }

    /// Whether this node waits for others because it was rejected.
    #[must_use]
    pub fn is_locked_out(&self) -> bool {
        self.is_rejected && self.phase == Phase::Joining
    }

    /// Takes in what happened.
    pub fn apply(&mut self, input: Input, now: Moment, effects: &mut Vec<Effect>) {
        match input {
            Input::Gossip(seen) => self.gossip(seen, now, effects),
            Input::Said(peer, phase, members) => {
                self.said.insert(peer, (phase, members));
            }
            Input::Up(peer) => {
                let tie = self.ties.entry(peer).or_default();
                *tie = Tie { is_up: true, was_up: true, ..Tie::default() };
            }
            Input::Down(peer) => {
                let is_first = self.me < peer;
                let tie = self.ties.entry(peer).or_default();
                tie.is_up = false;
                tie.lost_at = Some(now);
                tie.dial_at = if is_first { now } else { now + SECOND_DIALS_AFTER };
            }
            Input::DialFailed { peer, refused } => {
                let tie = self.ties.entry(peer).or_default();
                tie.refusals = if refused { tie.refusals + 1 } else { 0 };
                tie.dial_at = now + if refused { DIAL_EVERY } else { DIAL_SLOWLY };
                if tie.refusals > REFUSALS {
                    tie.dial_at = now + DIAL_SLOWLY;
                }
            }
            Input::Tick => {}
        }
        self.dial(now, effects);
        self.choose(now);
        self.advance(now);
    }

    fn gossip(&mut self, seen: Vec<Seen>, now: Moment, effects: &mut Vec<Effect>) {
        let mine = |seen: &&Seen| seen.id.node == self.me.node;
        if seen.iter().filter(mine).any(|seen| seen.id.incarnation > self.me.incarnation) {
            effects.push(Effect::Superseded);
        }
        let known = std::mem::take(&mut self.seen);
        for one in seen.into_iter().filter(|seen| seen.id.node != self.me.node) {
            // The newest life of a node is the node.
            let is_older =
                |id: &RelayId| id.node == one.id.node && id.incarnation < one.id.incarnation;
            self.seen.retain(|id, _| !is_older(id));
            let is_newest = !self.seen.keys().any(|id| id.node == one.id.node);
            if is_newest {
                self.seen.insert(one.id.clone(), one);
            }
        }
        if self.seen.keys().any(|id| !known.contains_key(id)) {
            self.found_at = now;
        }
        let seen = &self.seen;
        self.ties.retain(|id, tie| tie.is_up || seen.contains_key(id));
        let ties = &self.ties;
        self.said.retain(|id, _| seen.contains_key(id) || ties.contains_key(id));
    }

    fn dial(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for (id, seen) in self.seen.iter().filter(|(_, seen)| seen.is_live) {
            let is_first = self.me < *id;
            let tie = self.ties.entry(id.clone()).or_default();
            // The other one dials first; if it cannot, this one tries.
            let may_dial = is_first || tie.lost_at.is_some();
            if !tie.is_up && may_dial && tie.dial_at <= now {
                // The answer may set another time; there may be none if an attempt is under way.
                tie.dial_at = now + DIAL_EVERY;
                effects.push(Effect::Dial(id.clone(), seen.address));
            }
        }
    }

    /// A node that has linked with everyone it knows begins to serve; one that finds nobody begins a
    /// cluster after a while.
    fn advance(&mut self, now: Moment) {
        if self.phase != Phase::Joining || now < self.started {
            return;
        }
        let mut live = self.seen.values().filter(|seen| seen.is_live).peekable();
        let is_alone = live.peek().is_none();
        let is_linked = |seen: &Seen| self.ties.get(&seen.id).is_some_and(|tie| tie.is_up);
        let waited = now.since(self.started) >= self.bootstrap_after;
        let is_serving = |seen: &Seen| seen.is_live && self.phase_of(seen) == Phase::Serving;
        let is_cluster = self.seen.values().any(is_serving);
        let has_found_all = now.since(self.found_at) >= FOUND_ALL_AFTER;
        let may_serve = match is_alone {
            true => waited && !self.is_rejected,
            false => (is_cluster || has_found_all) && live.all(is_linked) && self.has_met_members(),
        };
        let majority = self.quorum.map_or(1, Quorum::majority);
        if may_serve && self.members.len() + 1 >= majority {
            self.phase = Phase::Serving;
        }
    }

    /// Whether this node is linked with all who are members for those that serve: it would not know
    /// whom to take its slots from.
    fn has_met_members(&self) -> bool {
        let is_up = |id: &RelayId| self.ties.get(id).is_some_and(|tie| tie.is_up);
        let is_over = |id: &RelayId| {
            self.seen.keys().any(|seen| seen.node == id.node && seen.incarnation > id.incarnation)
        };
        // A peer says so as soon as there is a connection.
        let mut linked = self.ties.iter().filter(|(_, tie)| tie.is_up).map(|(id, _)| id);
        if !linked.all(|id| self.said.contains_key(id)) {
            return false;
        }
        let is_serving = |(id, (phase, _)): &(&RelayId, &(Phase, Vec<RelayId>))| {
            is_up(id) && *phase == Phase::Serving
        };
        let serving = self.said.iter().filter(is_serving);
        let mut members = serving.flat_map(|(_, (_, members))| members);
        members.all(|id| *id == self.me || is_up(id) || is_over(id))
    }

    fn choose(&mut self, now: Moment) {
        let is_up = |id: &RelayId| self.ties.get(id).is_some_and(|tie| tie.is_up);
        let stays = |seen: &&Seen| self.members.contains(&seen.id) && self.is_member(seen, now);
        let chosen = self.seen.values().filter(|seen| is_up(&seen.id) || stays(seen));
        self.members = chosen.map(|seen| seen.id.clone()).collect();
    }

    /// The members of the present [`View`](super::view::View), sorted.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let mut members = vec![Member { id: self.me.clone(), phase: self.phase }];
        for seen in self.members.iter().filter_map(|id| self.seen.get(id)) {
            members.push(Member { id: seen.id.clone(), phase: self.phase_of(seen) });
        }
        members.sort();
        members
    }

    fn phase_of(&self, seen: &Seen) -> Phase {
        self.said.get(&seen.id).map_or(seen.phase, |(said, _)| seen.phase.max(*said))
    }

    /// Whether a member without a connection is a member still.
    fn is_member(&self, seen: &Seen, now: Moment) -> bool {
        let Some(tie) = self.ties.get(&seen.id) else {
            return false;
        };
        if tie.refusals >= REFUSALS || !seen.is_live {
            return false;
        }
        let is_long_lost = tie.lost_at.is_some_and(|at| now.since(at) >= LOST_AFTER);
        !is_long_lost || !self.is_lost_to_others(seen)
    }

    /// Whether at least half of the other live nodes have lost this one too.
    fn is_lost_to_others(&self, lost: &Seen) -> bool {
        let is_other = |seen: &&Seen| seen.is_live && seen.id != lost.id;
        let others: Vec<&Seen> = self.seen.values().filter(is_other).collect();
        let agreeing = others.iter().filter(|seen| seen.suspects.contains(&lost.id.node));
        agreeing.count() * 2 >= others.len()
    }

    /// Nodes to which this one has lost its link, to be gossiped.
    #[must_use]
    pub fn suspects(&self) -> Vec<NodeId> {
        let lost = self.ties.iter().filter(|(_, tie)| tie.was_up && !tie.is_up);
        let lost: BTreeSet<NodeId> = lost.map(|(id, _)| id.node.clone()).collect();
        lost.into_iter().collect()
    }
}
