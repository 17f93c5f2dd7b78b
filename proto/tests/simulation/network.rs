//! The network: sessions that keep the order of a lane, may stand still, and may break with
//! everything in them; attempts to connect; and what gossip has carried where.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proto::cluster::membership::Seen;
use proto::{Moment, RelayId};

use super::draw::Draw;

/// Lanes of a session: control, and messages.
pub(super) const LANES: usize = 2;

/// Frames on their way, and when they are due.
type Wire = VecDeque<(Moment, Vec<u8>)>;

/// A connection between two lives of nodes.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) ends: [(usize, RelayId); 2],
    /// By direction (from the first end, from the second) and lane: frames and when they are due.
    wires: [[Wire; LANES]; 2],
}

/// What one node has heard of another.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) heartbeat: u64,
    /// How often it was heard of anew.
    pub(super) beats: u32,
    pub(super) at: Moment,
    pub(super) seen: Seen,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) sessions: BTreeMap<u64, Session>,
    next: u64,
    /// Directions in which packets disappear.
    pub(super) blocked: BTreeSet<(usize, usize)>,
    /// By node: what it has heard of others.
    pub(super) gossip: BTreeMap<usize, BTreeMap<RelayId, Heard>>,
    /// Attempts under way, by pair.
    pub(super) dialling: BTreeSet<(RelayId, RelayId)>,
}

impl Network {
    pub(super) fn is_open(&self, from: usize, to: usize) -> bool {
        !self.blocked.contains(&(from, to))
    }

    pub(super) fn is_open_both_ways(&self, one: usize, other: usize) -> bool {
        self.is_open(one, other) && self.is_open(other, one)
    }

    pub(super) fn connect(&mut self, ends: [(usize, RelayId); 2]) -> u64 {
        self.next += 1;
        self.sessions.insert(self.next, Session { ends, wires: Default::default() });
        self.next
    }

    pub(super) fn between(&self, one: &RelayId, other: &RelayId) -> Option<u64> {
        let has = |session: &Session, id: &RelayId| session.ends.iter().any(|(_, end)| end == id);
        let found = self.sessions.iter().find(|(_, s)| has(s, one) && has(s, other));
        found.map(|(&number, _)| number)
    }

    /// Sends a frame; the moment at which it is due. It does not overtake others of its lane.
    pub(super) fn send(
        &mut self,
        (number, from): (u64, &RelayId),
        lane: usize,
        frame: Vec<u8>,
        (now, draw): (Moment, &mut Draw),
    ) -> Option<Moment> {
        let session = self.sessions.get_mut(&number)?;
        let direction = usize::from(session.ends[0].1 != *from);
        let wire = &mut session.wires[direction][lane];
        let travel = if draw.one_in(300) { draw.millis(10, 80) } else { draw.micros(50, 900) };
        let due = wire.back().map_or(now + travel, |(last, _)| (now + travel).max(*last));
        wire.push_back((due, frame));
        Some(due)
    }

    /// Takes the frames that have arrived at an end.
    pub(super) fn arrived(
        &mut self,
        number: u64,
        to: &RelayId,
        lane: usize,
        now: Moment,
    ) -> Vec<Vec<u8>> {
        let Some(session) = self.sessions.get_mut(&number) else { return Vec::new() };
        let direction = usize::from(session.ends[0].1 == *to);
        let [from, at] = [session.ends[direction].0, session.ends[1 - direction].0];
        if self.blocked.contains(&(from, at)) {
            return Vec::new();
        }
        let wire = &mut session.wires[direction][lane];
        let due = wire.iter().take_while(|(due, _)| *due <= now).count();
        wire.drain(..due).map(|(_, frame)| frame).collect()
    }

    /// Sessions in which frames wait for a direction that is open again.
    pub(super) fn waiting(&self) -> Vec<(u64, usize, RelayId, usize)> {
        let mut all = Vec::new();
        for (&number, session) in &self.sessions {
            for direction in 0..2 {
                let (from, (to, id)) = (session.ends[direction].0, &session.ends[1 - direction]);
                if !self.is_open(from, *to) {
                    continue;
                }
                for lane in 0..LANES {
                    if !session.wires[direction][lane].is_empty() {
                        all.push((number, *to, id.clone(), lane));
                    }
                }
            }
        }
        all
    }

    /// Two nodes tell each other what they have heard.
    pub(super) fn exchange(&mut self, one: usize, other: usize, now: Moment) {
        for (from, to) in [(one, other), (other, one)] {
            let told: Vec<(RelayId, Heard)> = self
                .gossip
                .get(&from)
                .into_iter()
                .flatten()
                .map(|(id, heard)| (id.clone(), heard.clone()))
                .collect();
            let known = self.gossip.entry(to).or_default();
            for (id, heard) in told {
                if known.get(&id).is_none_or(|known| known.heartbeat < heard.heartbeat) {
                    let beats = known.get(&id).map_or(0, |known| known.beats) + 1;
                    known.insert(id, Heard { at: now, beats, ..heard });
                }
            }
        }
    }
}
