//! A schedule: what is broken, when and for how long. The same seed draws the same schedule.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::judge::{Cut, Terms};
use super::observation::Node;

/// Seeds of the smoke run: with three nodes they draw faults of different kinds.
pub const SMOKE_SEEDS: [u64; 6] = [2, 15, 6, 3, 1, 20];

/// Numbers that only depend on a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// Numbers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    /// The next place in a list of so many.
    #[must_use]
    pub fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }

    /// The next time between these, in ms.
    pub const fn time(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A node is killed (-9).
    Kill,
    /// The owner of the hot channel is killed (-9).
    KillOwner,
    /// A node is stopped (SIGSTOP) and goes on.
    Stop,
    /// What one node sends to another disappears.
    DropOneWay,
    /// One node is cut off from all others.
    Partition,
    /// The connections between two nodes are reset.
    Reset,
    /// All nodes are restarted in turn (SIGTERM).
    Rolling,
    /// All nodes are restarted in turn (SIGTERM) with the other of two programs.
    Upgrade,
    /// A further node joins.
    Join,
    /// A node leaves (SIGTERM).
    Leave,
    /// A node is stopped and goes on, again and again.
    Flap,
    /// Nothing happens.
    None,
}

impl Kind {
    /// What may be drawn for so many nodes.
    #[must_use]
    pub const fn all(nodes: usize) -> &'static [Self] {
        match nodes {
            0 | 1 => &[Self::None, Self::Rolling, Self::Kill],
            _ => &[
                Self::KillOwner,
                Self::Stop,
                Self::Partition,
                Self::Rolling,
                Self::DropOneWay,
                Self::Join,
                Self::Kill,
                Self::Reset,
                Self::Leave,
                Self::Flap,
            ],
        }
    }

    /// How a schedule with it is judged in a cluster of so many nodes.
    #[must_use]
    pub const fn terms(self, nodes: usize) -> Terms {
        let takes_none_away = matches!(self, Self::None | Self::Join | Self::Reset);
        Terms {
            is_planned: matches!(
                self,
                Self::Rolling | Self::Upgrade | Self::Join | Self::Leave | Self::None
            ),
            is_cut: matches!(self, Self::Partition | Self::DropOneWay),
            may_be_alone: matches!(self, Self::Partition) || nodes <= 2 && !takes_none_away,
        }
    }
}

/// What is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// What it was drawn from.
    pub seed: u64,
    /// What happens.
    pub kind: Kind,
    /// To whom; the owner of the hot channel is found out when it is due.
    pub victim: Node,
    /// Who else has to do with it.
    pub other: Node,
    /// How long nothing is broken at first.
    pub lead: Duration,
    /// How long it is broken, each time.
    pub lasts: Duration,
    /// How often, if it flaps.
    pub times: u64,
}

impl Schedule {
    /// Draws one of these kinds for so many nodes.
    #[must_use]
    pub fn draw(seed: u64, nodes: usize, kinds: &[Kind]) -> Self {
        let mut draw = Draw::new(seed);
        let kind = kinds[draw.place(kinds.len())];
        let victim = draw.place(nodes);
        let other = (victim + 1 + draw.place(nodes.saturating_sub(1).max(1))) % nodes;
        let lead = draw.time(500, 1_000);
        let (lasts, times) = match kind {
            // Longer than the 1.5 s after which a node is suspect.
            Kind::Stop | Kind::Partition | Kind::DropOneWay => (draw.time(2_000, 4_000), 1),
            Kind::Reset => (draw.time(500, 1_000), 1),
            Kind::Flap => (draw.time(1_700, 2_000), 2 + draw.below(2)),
            _ => (Duration::ZERO, 1),
        };
        Self { seed, kind, victim, other, lead, lasts, times }
    }

    /// The same, with cuts that last well after those without a majority have stopped.
    #[must_use]
    pub fn fenced(self) -> Self {
        let is_cut = self.kind == Kind::Partition;
        Self { lasts: self.lasts + if is_cut { Cut::FENCED_AFTER } else { Duration::ZERO }, ..self }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, victim, other, lasts, times, .. } = self;
        let (victim, other) = (victim + 1, other + 1);
        match kind {
            Kind::Kill => write!(f, "kill -9 of node-{victim}"),
            Kind::KillOwner => write!(f, "kill -9 of the hot channel's owner"),
            Kind::Stop => write!(f, "stop of node-{victim} for {lasts:.1?}"),
            Kind::DropOneWay => write!(f, "drop node-{victim} -> node-{other} for {lasts:.1?}"),
            Kind::Partition => write!(f, "partition of node-{victim} for {lasts:.1?}"),
            Kind::Reset => write!(f, "reset node-{victim} <-> node-{other} for {lasts:.1?}"),
            Kind::Rolling => write!(f, "rolling restart"),
            Kind::Upgrade => write!(f, "rolling restart with the other program"),
            Kind::Join => write!(f, "join of a node"),
            Kind::Leave => write!(f, "leave of node-{victim}"),
            Kind::Flap => write!(f, "flap of node-{victim}, {times} times {lasts:.1?}"),
            Kind::None => write!(f, "no fault"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_schedule_again() {
        for seed in 0..100 {
            let draw = || Schedule::draw(seed, 5, Kind::all(5));
            assert_eq!(draw(), draw());
        }
    }

    #[test]
    fn every_kind_and_every_node_is_drawn_and_nobody_is_cut_off_from_itself() {
        for nodes in [1, 3, 5] {
            let drawn: Vec<_> =
                (0..500).map(|seed| Schedule::draw(seed, nodes, Kind::all(nodes))).collect();
            let kinds: BTreeSet<Kind> = drawn.iter().map(|schedule| schedule.kind).collect();
            assert_eq!(kinds.len(), Kind::all(nodes).len());
            let victims: BTreeSet<Node> = drawn.iter().map(|schedule| schedule.victim).collect();
            assert_eq!(victims, (0..nodes).collect());
            assert!(drawn.iter().all(|s| s.other < nodes && (nodes == 1 || s.other != s.victim)));
        }
    }

    #[test]
    fn a_node_can_be_alone_behind_a_cut_or_when_the_only_other_one_is_away() {
        let alone = |kind: Kind, nodes| kind.terms(nodes).may_be_alone;
        assert!(alone(Kind::Partition, 3) && alone(Kind::Partition, 5));
        for kind in [Kind::Kill, Kind::Stop, Kind::Rolling, Kind::Leave, Kind::Flap] {
            assert!(alone(kind, 2) && !alone(kind, 3), "{kind:?}");
        }
        assert!(!alone(Kind::Join, 2) && !alone(Kind::None, 2));
    }

    #[test]
    fn the_smoke_run_breaks_six_different_things() {
        let kind = |seed: &u64| Schedule::draw(*seed, 3, Kind::all(3)).kind;
        let kinds: BTreeSet<Kind> = SMOKE_SEEDS.iter().map(kind).collect();
        for kind in [Kind::KillOwner, Kind::Stop, Kind::Partition, Kind::Rolling, Kind::Join] {
            assert!(kinds.contains(&kind), "{kinds:?}");
        }
        assert_eq!(kinds.len(), SMOKE_SEEDS.len());
    }
}
