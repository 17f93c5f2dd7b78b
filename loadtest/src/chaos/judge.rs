//! The judge: told everything that is seen, it knows what should have been seen. No clock, no socket:
//! what it says depends on what it was told alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::observation::{
    Closed, Connection, Failure, Look, Node, Observation, Outcome, Published,
};
use super::plan;

pub mod deliveries;
pub mod presence;
pub mod verdict;
pub mod webhooks;

use deliveries::Deliveries;
use presence::Presence;
use verdict::{Fault, Verdict};
use webhooks::Webhooks;

/// How a schedule is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Nothing was broken, only moved: nothing may fail.
    pub is_planned: bool,
    /// The network was cut: who was on the other side may lack what nobody acknowledged.
    pub is_cut: bool,
    /// A node may have had nobody else in its view: then it acknowledges as `sequenced`, and says
    /// so, unless another level was asked for by name.
    pub may_be_alone: bool,
}

/// A time in which nodes could not reach the majority.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The nodes on the smaller side.
    pub minority: Vec<Node>,
    /// When it began.
    pub from: Duration,
    /// When it was over.
    pub until: Duration,
}

impl Cut {
    /// After so long, whoever cannot reach the majority has stopped.
    pub const FENCED_AFTER: Duration = Duration::from_secs(2);

    /// Whether a publish was over while its node had to refuse it.
    #[must_use]
    pub fn covers(&self, published: &Published) -> bool {
        let fenced = self.from + Self::FENCED_AFTER..self.until;
        let is_there = published.node.is_some_and(|node| self.minority.contains(&node));
        is_there && fenced.contains(&published.done_at)
    }
}

/// The end of a time in which not all nodes could reach each other.
#[derive(Clone, Debug)]
pub struct Heal {
    /// When they could again.
    pub at: Duration,
    /// Nodes that could reach each other all the time: each such side can have had its own order.
    pub sides: Vec<Vec<Node>>,
}

/// Everything that is known.
#[derive(Debug)]
pub struct Judge {
    /// Who got what.
    pub deliveries: Deliveries,
    /// Who is where.
    pub presence: Presence,
    /// What the webhooks said, in the whole run.
    pub webhooks: Webhooks,
    open: BTreeMap<Connection, Node>,
    /// Connections that have ended since the last verdict, and where they were.
    closed: Vec<(Closed, Node)>,
    published: Vec<Published>,
    cut: Option<Cut>,
    heal: Option<Heal>,
    /// By node and life of it: messages that it could not read.
    unreadable: BTreeMap<(Node, String), u64>,
    faults: Verdict,
}

impl Judge {
    /// A judge of streams that `publishers` publishers have in each channel.
    #[must_use]
    pub fn new(publishers: u32) -> Self {
        Self {
            deliveries: Deliveries::new(publishers),
            presence: Presence::default(),
            webhooks: Webhooks::default(),
            open: BTreeMap::new(),
            closed: Vec::new(),
            published: Vec::new(),
            cut: None,
            heal: None,
            unreadable: BTreeMap::new(),
            faults: Verdict::default(),
        }
    }

    /// Takes note of something.
    pub fn take(&mut self, observation: Observation) {
        match observation {
            Observation::Opened(connection, node) => {
                self.open.insert(connection, node);
            }
            Observation::Subscribed(subscribed) => {
                self.deliveries.subscribe(&subscribed);
                self.presence.subscribe(subscribed);
            }
            Observation::Left(connection, channel, at) => {
                self.deliveries.leave(connection, channel, at);
                self.presence.leave(connection, channel);
            }
            Observation::Received(connection, channel, mark, at) => {
                self.deliveries.receive((connection, channel), mark, at, &mut self.faults);
            }
            Observation::Member(connection, channel, user, is_added) => {
                self.presence.hear((connection, channel), &user, is_added, &mut self.faults);
            }
            Observation::Refused(why) => {
                let why = format!("subscription refused: {why}");
                *self.faults.failures.entry(why).or_default() += 1;
            }
            Observation::Closed(closed) => {
                self.deliveries.close(closed.connection, closed.at);
                self.presence.close(closed.connection);
                if let Some(node) = self.open.remove(&closed.connection) {
                    self.closed.push((closed, node));
                }
            }
            Observation::Published(published) => {
                self.deliveries.publish(&published);
                self.published.push(published);
            }
            Observation::Hooks(hooks) => hooks.iter().for_each(|hook| self.webhooks.take(hook)),
            Observation::Looked(node, _, look) => self.look(node, &look),
        }
    }

    fn look(&mut self, node: Node, look: &Look) {
        let Some(status) = &look.status else { return };
        let life = (node, status.node.incarnation.to_string());
        let known = self.unreadable.entry(life).or_default();
        let count = status.unreadable_messages.saturating_sub(*known);
        *known += count;
        self.faults.add(Fault::Unreadable, count, || format!("{count} at {}", plan::id(node)));
    }

    /// The connections to a node.
    #[must_use]
    pub fn connections(&self, node: Node) -> Vec<Connection> {
        self.open().filter(|&(_, at)| at == node).map(|(connection, _)| connection).collect()
    }

    /// All connections, and where they are.
    pub fn open(&self) -> impl Iterator<Item = (Connection, Node)> {
        self.open.iter().map(|(&connection, &node)| (connection, node))
    }

    /// Connections that have ended since the last verdict and not by their own wish, and where they
    /// were.
    pub fn closed(&self) -> impl Iterator<Item = &(Closed, Node)> {
        self.closed.iter().filter(|(closed, _)| !closed.is_ours)
    }

    /// Nodes could not reach the majority, without which nothing may be acknowledged.
    pub fn cut(&mut self, cut: Cut) {
        self.cut = Some(cut);
    }

    /// All nodes can reach each other again.
    pub fn heal(&mut self, heal: Heal) {
        self.heal = Some(heal);
    }

    /// Notes what was found out elsewhere.
    pub fn note(&mut self, fault: Fault, what: String) {
        self.faults.add(fault, 1, || what);
    }

    /// Adds what was found out elsewhere.
    pub fn absorb(&mut self, found: &Verdict) {
        self.faults.absorb(found);
        self.faults.examples.extend(found.examples.iter().cloned());
    }

    /// What has happened since the last verdict, when nothing is on its way any more; then forgets
    /// it, but for who is where.
    pub fn verdict(&mut self, terms: Terms) -> Verdict {
        let mut verdict = std::mem::take(&mut self.faults);
        let closed = self.closed.iter().map(|(closed, node)| (closed.connection, *node));
        let nodes = self.open.iter().map(|(&open, &node)| (open, node)).chain(closed).collect();
        let heal = self.heal.take();
        self.deliveries.judge(terms, (heal.as_ref(), &nodes), &mut verdict);
        let cut = self.cut.take();
        for published in std::mem::take(&mut self.published) {
            judge_publish(&published, terms, &mut verdict);
            if published.outcome != Outcome::Failed
                && cut.as_ref().is_some_and(|cut| cut.covers(&published))
            {
                verdict.add(Fault::Minority, 1, || describe(&published));
            }
        }
        for (closed, _) in self.closed().copied().collect::<Vec<_>>() {
            let code = closed.code.map_or_else(|| "none".into(), |code| code.to_string());
            *verdict.codes.entry(code).or_default() += 1;
        }
        self.closed.clear();
        verdict
    }
}

fn judge_publish(published: &Published, terms: Terms, verdict: &mut Verdict) {
    let Published { outcome, is_keyed, failures, .. } = published;
    let what = || describe(published);
    match outcome {
        Outcome::Acknowledged => verdict.acknowledged += 1,
        Outcome::Lowered if terms.may_be_alone => verdict.allowed_downgrades += 1,
        Outcome::Lowered => verdict.add(Fault::Downgraded, 1, what),
        Outcome::Downgraded => verdict.add(Fault::Downgraded, 1, what),
        Outcome::Failed if *is_keyed => verdict.add(Fault::Unacknowledged, 1, what),
        Outcome::Failed => verdict.unkeyed_failed += 1,
    }
    for failure in failures {
        *verdict.failures.entry(format!("{failure:?}")).or_default() += 1;
        if *failure == Failure::Hung {
            verdict.add(Fault::Hung, 1, what);
        }
        if terms.is_planned {
            verdict.add(Fault::Failed, 1, what);
        }
    }
}

fn describe(published: &Published) -> String {
    let Published { mark, outcome, failures, sent_at, done_at, node, .. } = published;
    let waited = done_at.saturating_sub(*sent_at);
    let node = node.map_or_else(|| "no node".into(), plan::id);
    format!(
        "{mark:?} sent at {sent_at:.3?}, {outcome:?} after {waited:.3?} at {node}: {failures:?}"
    )
}

/// The largest part of the connections that end within so long.
#[must_use]
pub fn largest_wave(mut ends: Vec<Duration>, within: Duration) -> usize {
    ends.sort();
    let wave = |(first, &from): (usize, &Duration)| {
        ends[first..].iter().take_while(|&&end| end < from + within).count()
    };
    ends.iter().enumerate().map(wave).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
