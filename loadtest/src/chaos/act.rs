//! One schedule from beginning to end: all is well, something is broken, it is whole again, and the
//! judge says what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::director::Director;
use super::judge::Terms;
use super::judge::verdict::{Fault, Verdict};
use super::observation::{Channel, Node};
use super::schedule::{Kind, Schedule};
use crate::report::Figure;

mod faults;
mod moves;
mod probe;

/// How long nodes may take until they agree, and clients until they are back.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Presence is exact so long after the end of a fault.
const EXACT_AFTER: Duration = Duration::from_secs(5);
/// Nothing is on its way so long after the last publish.
const QUIET: Duration = Duration::from_millis(1_500);
/// How long publishes that are under way may take.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// What a schedule gave.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// What was done.
    pub schedule: Schedule,
    /// Why it does not count; none if its fault was seen.
    pub not_run: Option<String>,
    /// How the fault was seen.
    pub seen: Vec<String>,
    /// What came of it.
    pub verdict: Verdict,
    /// From a kill to the first delivery of a later publish, in ms, for each hot channel of the node.
    pub failovers_ms: Vec<f64>,
    /// What was measured besides.
    pub figures: Vec<Figure>,
}

/// What was done, as it is found out.
#[derive(Debug, Default)]
struct Act {
    /// When all was whole again, or, after a kill, when it happened.
    ended: Duration,
    seen: Vec<String>,
    not_run: Option<String>,
    /// When a node was killed, and the hot channels that it owned.
    killed: Option<(Duration, Vec<Channel>)>,
    figures: Vec<Figure>,
}

impl Act {
    fn figure(&mut self, name: &str, value: f64) {
        let name = name.to_owned();
        self.figures.push(Figure { name, value });
    }

    /// Takes note of when others noticed; a fault that nobody noticed was none.
    fn notice(&mut self, noticed: Option<Duration>) {
        match noticed {
            Some(after) => {
                self.seen.push(format!("noticed after {after:.2?}"));
                self.figure("noticed after, ms", milliseconds(after));
            }
            None => self.not_run = Some("no other node noticed the fault".into()),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// Runs a schedule. `is_brief` goes on as soon as presence is exact.
pub(super) fn run(
    director: &mut Director,
    schedule: &Schedule,
    is_brief: bool,
) -> anyhow::Result<Outcome> {
    let nodes = director.cluster.running();
    let is_cluster = director.stage.ack.is_some();
    let mut terms = schedule.kind.terms(nodes.len());
    terms.may_be_alone &= !director.is_majority;
    if terms.is_cut && !director.is_majority {
        director.judge.webhooks.expect_two_sides();
    }
    // A single node cannot hand anything over.
    terms.is_planned &= is_cluster || schedule.kind == Kind::None;
    director.history.clear();
    director.set_load(true);
    let loaded = director.stage.now();
    director.pump(schedule.lead);
    let watched = watched(director);
    let epochs = director.epochs(&watched);
    let mut act = inject(director, schedule)?;
    compare_epochs(director, terms, &epochs, &mut act);
    if let Some((at, channels)) = act.killed.clone() {
        director.until(EXACT_AFTER, |d| is_delivering(d, &channels, at));
    }
    director.pump(if is_brief { QUIET / 2 } else { 2 * QUIET });
    director.set_load(false);
    let loaded = director.stage.now().saturating_sub(loaded);
    if !director.until(IDLE_MAX, |director| director.stage.busy() == 0) {
        director.judge.note(Fault::Hung, format!("publishes after {IDLE_MAX:?}"));
    }
    director.pump(QUIET);
    audit(director, &mut act, is_brief);
    let failovers_ms = failovers(director, &act);
    let verdict = director.judge.verdict(terms);
    #[allow(clippy::cast_precision_loss)]
    act.figure("acknowledged a second", verdict.acknowledged as f64 / loaded.as_secs_f64());
    restore(director, &nodes)?;
    let Act { seen, not_run, figures, .. } = act;
    Ok(Outcome { schedule: schedule.clone(), not_run, seen, verdict, failovers_ms, figures })
}

fn inject(director: &mut Director, schedule: &Schedule) -> anyhow::Result<Act> {
    match schedule.kind {
        Kind::Kill | Kind::KillOwner => faults::kill(director, schedule),
        Kind::Stop | Kind::Flap => faults::stop(director, schedule),
        Kind::DropOneWay | Kind::Partition | Kind::Reset => faults::cut(director, schedule),
        Kind::Rolling | Kind::Upgrade => moves::rolling(director, schedule.kind),
        Kind::Join => moves::join(director),
        Kind::Leave => moves::leave(director, schedule.victim),
        Kind::None => Ok(Act { ended: director.stage.now(), ..Act::default() }),
    }
}

/// Channels whose epochs and owners are followed.
fn watched(director: &Director) -> Vec<Channel> {
    let plan = &director.stage.plan;
    plan.hot.clone().chain(plan.published.clone().skip(plan.hot.len()).take(12)).collect()
}

fn compare_epochs(
    director: &mut Director,
    terms: Terms,
    before: &BTreeMap<Channel, String>,
    act: &mut Act,
) {
    let is_asked = terms.is_planned && director.stage.ack.is_some();
    if !is_asked {
        return;
    }
    if before.is_empty() {
        act.seen.push("epochs not available".into());
        return;
    }
    let channels: Vec<Channel> = before.keys().copied().collect();
    let after = director.epochs(&channels);
    for (channel, epoch) in before {
        if after.get(channel) != Some(epoch) {
            let name = director.stage.plan.name(*channel);
            let what = format!("{name}: {epoch} became {:?}", after.get(channel));
            director.judge.note(Fault::NewEpoch, what);
        }
    }
}

/// Presence must be exact some time after the fault; it is looked at until then.
fn audit(director: &mut Director, act: &mut Act, is_brief: bool) {
    let due = act.ended + EXACT_AFTER;
    if !is_brief {
        director.pump(due.saturating_sub(director.stage.now()));
    }
    let mut exact = None;
    let patience = due.saturating_sub(director.stage.now());
    director.until(patience, |director| {
        let is_exact = director.is_subscribed() && director.audit().is_none();
        exact = is_exact.then(|| director.stage.now());
        is_exact
    });
    match exact {
        Some(at) if is_brief => {
            act.figure(
                "presence exact after at most, ms",
                milliseconds(at.saturating_sub(act.ended)),
            );
        }
        Some(_) => {}
        None => {
            let difference = director.audit();
            let mut verdict = Verdict::default();
            difference.note(&mut verdict);
            director.judge.absorb(&verdict);
        }
    }
}

/// Whether every one of these channels has delivered something that was published after that.
fn is_delivering(director: &Director, channels: &[Channel], since: Duration) -> bool {
    director.judge.deliveries.first_after(channels, since).iter().all(Option::is_some)
}

/// How long after a kill each hot channel of the killed node delivered again.
fn failovers(director: &mut Director, act: &Act) -> Vec<f64> {
    let Some((at, channels)) = &act.killed else { return Vec::new() };
    let first = director.judge.deliveries.first_after(channels, *at);
    for (channel, _) in channels.iter().zip(&first).filter(|(_, first)| first.is_none()) {
        let what = format!("nothing was delivered on channel {channel} after the kill");
        director.judge.note(Fault::Unsettled, what);
    }
    first.into_iter().flatten().map(milliseconds).collect()
}

/// Starts who does not run and should, and ends who runs and should not.
fn restore(director: &mut Director, nodes: &[Node]) -> anyhow::Result<()> {
    for node in director.cluster.running() {
        if !nodes.contains(&node) {
            moves::terminate(director, node, &mut Act::default())?;
        }
    }
    for &node in nodes {
        if director.cluster.pid(node).is_none() {
            director.cluster.start(node)?;
        }
    }
    Ok(())
}
