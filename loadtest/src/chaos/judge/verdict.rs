//! What went wrong, counted, with an example of each kind.

use std::collections::BTreeMap;

use serde::Serialize;

/// Examples that are kept of each kind of fault.
const EXAMPLES_MAX: usize = 3;

/// What may not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An acknowledged event did not reach a connection that was there all the time.
    Lost,
    /// A connection got an event again.
    Duplicated,
    /// Two events came in another order than to someone else, or than they were published in.
    Reordered,
    /// An event that nobody was promised reached some connections and not others.
    Gap,
    /// An event came to another channel than its own.
    Strayed,
    /// A user is shown who is not there, or a count is too high.
    Ghost,
    /// A user is not shown who is there, or a count is too low.
    Missing,
    /// Someone was told that a user came who was there, or that one left who was not.
    Flicker,
    /// A publish had no answer for five seconds.
    Hung,
    /// A publish was acknowledged at another level than the one that was asked for; or, if none
    /// was, at less than `replicated` though no node could be alone.
    Downgraded,
    /// A node that was cut off from the majority acknowledged a publish.
    Minority,
    /// A publish was not acknowledged in ten seconds by any node.
    Unacknowledged,
    /// An attempt to publish failed though nothing was broken.
    Failed,
    /// A planned end without code 4200, or an unclean exit.
    Unannounced,
    /// A channel's epoch changed though its state was handed over.
    NewEpoch,
    /// A node that had been stopped acknowledged a publish before it belonged to the cluster again.
    Zombie,
    /// A node could not read messages of another one.
    Unreadable,
    /// The nodes did not agree again, or not in time.
    Unsettled,
    /// A webhook said the same twice under different ids, or different things under one.
    WebhookRepeated,
    /// The last webhook of a channel or a member is not what is true.
    WebhookWrong,
}

/// The sums of a schedule or of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Publishes that were acknowledged as they asked.
    pub acknowledged: u64,
    /// Events that arrived.
    pub delivered: u64,
    /// Publishes without a key that failed; they are not tried again.
    pub unkeyed_failed: u64,
    /// Attempts to publish that failed, by how.
    pub failures: BTreeMap<String, u64>,
    /// Connections that the server ended, by code.
    pub codes: BTreeMap<String, u64>,
    /// What may not happen.
    pub faults: BTreeMap<Fault, u64>,
    /// Some of it.
    pub examples: Vec<String>,
    /// Gaps on the other side of a cut, of events that nobody was promised: they are allowed.
    pub allowed_gaps: u64,
    /// Publishes without a level that a node which could be alone acknowledged at less than
    /// `replicated`: they are allowed.
    pub allowed_downgrades: u64,
}

impl Verdict {
    /// Counts a fault.
    pub fn add(&mut self, fault: Fault, count: u64, example: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        let name = format!("{fault:?}: ");
        if self.examples.iter().filter(|e| e.starts_with(&name)).count() < EXAMPLES_MAX {
            self.examples.push(name + &example());
        }
        *self.faults.entry(fault).or_default() += count;
    }

    /// How often something happened that may not.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    /// Whether nothing happened that may not.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Adds another one's counts; its examples stay where they were shown.
    pub fn absorb(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.unkeyed_failed += other.unkeyed_failed;
        self.allowed_gaps += other.allowed_gaps;
        self.allowed_downgrades += other.allowed_downgrades;
        for (map, more) in [(&mut self.failures, &other.failures), (&mut self.codes, &other.codes)]
        {
            for (name, count) in more {
                *map.entry(name.clone()).or_default() += count;
            }
        }
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}
