//! Lost, repeated and overtaken events.
//!
//! A connection must get an event if it was subscribed before the first attempt to publish it began
//! and is still open when all is quiet: a close is the server's way of saying that something is
//! missing. Where everything was planned nothing can be missing, and a closed connection must have
//! got what was acknowledged well before its end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::super::observation::{Channel, Connection, Node, Outcome, Published, Subscribed};
use super::verdict::{Fault, Verdict};
use super::{Heal, Terms};
use crate::mark::Mark;

/// After so long an acknowledged event has arrived, if nothing is broken.
const IN_FLIGHT_MAX: Duration = Duration::from_secs(1);

/// What a connection got of a channel.
#[derive(Debug)]
struct Subscription {
    since: Duration,
    until: Option<Duration>,
    got: Vec<(Mark, Duration)>,
    seen: HashSet<Mark>,
}

impl Subscription {
    /// Whether it was on the way of the channel that goes on after a cut.
    fn lasts(&self, heal: &Heal) -> bool {
        self.until.is_none() || self.since >= heal.at
    }
}

/// All subscriptions and publishes since the last verdict.
#[derive(Debug)]
pub struct Deliveries {
    publishers: u32,
    subscriptions: BTreeMap<Channel, BTreeMap<(Connection, Duration), Subscription>>,
    /// When a connection's present subscription to a channel began.
    current: HashMap<(Connection, Channel), Duration>,
    published: BTreeMap<Mark, Published>,
    /// The numbers from which on the streams have not been judged yet.
    judged: HashMap<u32, u32>,
}

impl Deliveries {
    pub(super) fn new(publishers: u32) -> Self {
        Self {
            publishers,
            subscriptions: BTreeMap::new(),
            current: HashMap::new(),
            published: BTreeMap::new(),
            judged: HashMap::new(),
        }
    }

    /// How many subscriptions such connections have.
    #[must_use]
    pub fn subscriptions(&self, is_such: impl Fn(Connection) -> bool) -> usize {
        self.current.keys().filter(|(connection, _)| is_such(*connection)).count()
    }

    pub(super) fn subscribe(&mut self, subscribed: &Subscribed) {
        let Subscribed { connection, channel, at, .. } = *subscribed;
        // What it was told before is over: events belong to the last subscription.
        self.leave(connection, channel, at);
        self.current.insert((connection, channel), at);
        let subscription =
            Subscription { since: at, until: None, got: Vec::new(), seen: HashSet::new() };
        self.subscriptions.entry(channel).or_default().insert((connection, at), subscription);
    }

    pub(super) fn leave(&mut self, connection: Connection, channel: Channel, at: Duration) {
        if let Some(since) = self.current.remove(&(connection, channel))
            && let Some(subscription) =
                self.subscriptions.entry(channel).or_default().get_mut(&(connection, since))
        {
            subscription.until = Some(at);
        }
    }

    pub(super) fn close(&mut self, connection: Connection, at: Duration) {
        let channels: Vec<Channel> = self.subscriptions.keys().copied().collect();
        for channel in channels {
            self.leave(connection, channel, at);
        }
    }

    pub(super) fn receive(
        &mut self,
        (connection, channel): (Connection, Channel),
        mark: Mark,
        at: Duration,
        verdict: &mut Verdict,
    ) {
        verdict.delivered += 1;
        let what = || format!("{mark:?} on connection {connection:#x} at {at:.3?}");
        if mark.stream / self.publishers != channel {
            return verdict.add(Fault::Strayed, 1, what);
        }
        let Some(since) = self.current.get(&(connection, channel)) else {
            // It was on its way while the client left.
            return;
        };
        if self.judged.get(&mark.stream).is_some_and(|&judged| mark.number < judged) {
            // Judged as lost, or as delivered: either way it comes far too late.
            return verdict.add(Fault::Reordered, 1, what);
        }
        let subscriptions = self.subscriptions.entry(channel).or_default();
        let Some(subscription) = subscriptions.get_mut(&(connection, *since)) else { return };
        if subscription.seen.insert(mark) {
            subscription.got.push((mark, at));
        } else {
            verdict.add(Fault::Duplicated, 1, || {
                format!("{} after {}", what(), when((connection, subscription), [mark]))
            });
        }
    }

    pub(super) fn publish(&mut self, published: &Published) {
        self.published.insert(published.mark, published.clone());
    }

    /// For each of these channels, how long after `from` someone first got an event that was
    /// published after it; none if nobody did.
    #[must_use]
    pub fn first_after(&self, channels: &[Channel], from: Duration) -> Vec<Option<Duration>> {
        let is_new = |mark: &Mark| self.published.get(mark).is_some_and(|p| p.sent_at >= from);
        let first = |channel: &Channel| {
            let subscriptions = self.subscriptions.get(channel)?.values();
            let news = subscriptions.flat_map(|s| &s.got).filter(|(mark, _)| is_new(mark));
            news.map(|&(_, at)| at.saturating_sub(from)).min()
        };
        channels.iter().map(first).collect()
    }

    /// `nodes` are those at which connections are, or were; after a cut, also when it was over.
    pub(super) fn judge(
        &mut self,
        terms: Terms,
        (heal, nodes): (Option<&Heal>, &BTreeMap<Connection, Node>),
        verdict: &mut Verdict,
    ) {
        for (&channel, subscriptions) in &self.subscriptions {
            let streams = channel * self.publishers..(channel + 1) * self.publishers;
            let Some(last) = streams.end.checked_sub(1) else { continue };
            let range =
                Mark { stream: streams.start, number: 0 }..=Mark { stream: last, number: u32::MAX };
            for (_, published) in self.published.range(range) {
                judge_holes(subscriptions, published, terms, verdict);
            }
            self.judge_streams(subscriptions, verdict);
            let all = subscriptions.iter().map(|((who, _), had)| (*who, had));
            let Some(heal) = heal else {
                judge_pairs(channel, all, verdict);
                continue;
            };
            judge_pairs(channel, all.clone().filter(|(_, had)| had.lasts(heal)), verdict);
            for side in &heal.sides {
                let is_there = |who| nodes.get(&who).is_some_and(|node| side.contains(node));
                let parted = all.clone().filter(|(who, had)| had.since < heal.at && is_there(*who));
                judge_pairs(channel, parted, verdict);
            }
        }
        self.forget();
    }

    /// A publisher waits for the answer, so its acknowledged events keep their order.
    fn judge_streams(
        &self,
        subscriptions: &BTreeMap<(Connection, Duration), Subscription>,
        verdict: &mut Verdict,
    ) {
        let is_acknowledged =
            |mark: &Mark| self.published.get(mark).is_some_and(|p| p.outcome != Outcome::Failed);
        for ((connection, _), subscription) in subscriptions {
            let mut last: HashMap<u32, Mark> = HashMap::new();
            for (mark, at) in subscription.got.iter().filter(|(mark, _)| is_acknowledged(mark)) {
                let before = last.insert(mark.stream, *mark).filter(|before| before > mark);
                if let Some(before) = before {
                    verdict.add(Fault::Reordered, 1, || {
                        format!("{connection:#x} got {mark:?} after {before:?}, at {at:.3?}")
                    });
                    last.insert(mark.stream, before);
                }
            }
        }
    }

    /// Keeps the open subscriptions, empty.
    fn forget(&mut self) {
        for mark in std::mem::take(&mut self.published).into_keys() {
            let judged = self.judged.entry(mark.stream).or_default();
            *judged = (*judged).max(mark.number + 1);
        }
        for subscriptions in self.subscriptions.values_mut() {
            subscriptions.retain(|_, subscription| subscription.until.is_none());
            for subscription in subscriptions.values_mut() {
                subscription.got.clear();
                subscription.seen.clear();
            }
        }
    }
}

fn judge_holes(
    subscriptions: &BTreeMap<(Connection, Duration), Subscription>,
    published: &Published,
    terms: Terms,
    verdict: &mut Verdict,
) {
    let Published { mark, sent_at, done_at, outcome, .. } = published;
    let must_have = |subscription: &Subscription| {
        let is_there = match subscription.until {
            None => true,
            Some(until) => terms.is_planned && *done_at + IN_FLIGHT_MAX < until,
        };
        is_there && subscription.since < *sent_at && !subscription.seen.contains(mark)
    };
    let someone = subscriptions.values().any(|subscription| subscription.seen.contains(mark));
    if *outcome == Outcome::Failed && !someone {
        return;
    }
    for ((connection, _), _) in subscriptions.iter().filter(|(_, s)| must_have(s)) {
        let what = || format!("{mark:?} sent at {sent_at:.3?}, not on {connection:#x}");
        match outcome {
            Outcome::Acknowledged => verdict.add(Fault::Lost, 1, what),
            _ if terms.is_cut => verdict.allowed_gaps += 1,
            _ => verdict.add(Fault::Gap, 1, what),
        }
    }
}

/// What two connections both got, they got in the same order.
fn judge_pairs<'a>(
    channel: Channel,
    subscriptions: impl Iterator<Item = (Connection, &'a Subscription)>,
    verdict: &mut Verdict,
) {
    let order = |s: &Subscription| s.got.iter().map(|(mark, _)| *mark).collect();
    let orders: BTreeMap<Vec<Mark>, (Connection, &Subscription)> =
        subscriptions.map(|(connection, s)| (order(s), (connection, s))).collect();
    let orders: Vec<_> = orders.into_iter().collect();
    for (first, (order, one)) in orders.iter().enumerate() {
        let places: HashMap<Mark, usize> = order.iter().copied().zip(0..).collect();
        for (other_order, other) in &orders[first + 1..] {
            let mut last: Option<(usize, Mark)> = None;
            for (place, mark) in other_order.iter().filter_map(|m| Some((*places.get(m)?, *m))) {
                if let Some((_, before)) = last.filter(|(before, _)| *before > place) {
                    verdict.add(Fault::Reordered, 1, || {
                        let [one, other] = [one, other].map(|who| when(*who, [before, mark]));
                        format!("channel {channel}: {before:?} and {mark:?}: {one}, {other}")
                    });
                } else {
                    last = Some((place, mark));
                }
            }
        }
    }
}

/// When a connection got these, and from when to when it was subscribed.
fn when<const N: usize>(
    (connection, subscription): (Connection, &Subscription),
    marks: [Mark; N],
) -> String {
    let Subscription { since, until, got, .. } = subscription;
    let at = marks.map(|mark| got.iter().find(|(got, _)| *got == mark).map(|(_, at)| *at));
    format!("{connection:#x} at {at:.3?} (subscribed {since:.3?} to {until:.3?})")
}
