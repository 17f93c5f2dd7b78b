//! What breaks nodes and the network between them.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::super::director::Director;
use super::super::judge::verdict::Fault;
use super::super::judge::{Cut, Heal};
use super::super::observation::{Channel, Node, Outcome, Published};
use super::super::schedule::{Kind, Schedule};
use super::super::{network, plan, watch};
use super::probe::Probe;
use super::{Act, SETTLE_MAX, milliseconds, watched};
use crate::process;

/// How often memory is looked at while a node is stopped.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a kill may go unnoticed before it counts as not seen.
const NOTICE_MAX: Duration = Duration::from_secs(5);
/// How long a node that goes on is asked to publish.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// How long such a publish is waited for.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two of them.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// How long a publish through a node without the majority is waited for: an answer that is merely
/// late must be seen.
const MINORITY_PATIENCE: Duration = Duration::from_secs(1);

/// Kills a node, or the owner of the first hot channel.
pub(super) fn kill(director: &mut Director, schedule: &Schedule) -> anyhow::Result<Act> {
    let hot: Vec<Channel> = director.stage.plan.hot.clone().collect();
    let owners = director.owners(&hot);
    let victim = match (schedule.kind, hot.first().and_then(|first| owners.get(first))) {
        (Kind::KillOwner, Some(&owner)) => owner,
        _ => schedule.victim,
    };
    let owned = hot.into_iter().filter(|channel| owners.get(channel) == Some(&victim)).collect();
    let mut act = Act::default();
    if schedule.kind == Kind::KillOwner && owners.is_empty() {
        act.not_run = Some("no node said who owns the hot channel".into());
    }
    let at = director.stage.now();
    director.cluster.signal(victim, Signal::KILL)?;
    let is_gone = director.until(NOTICE_MAX, |director| director.cluster.ended(victim).is_some());
    act.seen.push(format!("{} gone: {is_gone}", plan::id(victim)));
    act.ended = at;
    act.killed = Some((at, owned));
    if director.stage.ack.is_some() {
        let noticed = |director: &mut Director| director.noticed((&[victim], &[victim]), at);
        director.until(NOTICE_MAX, |director| noticed(director).is_some());
        let noticed = noticed(director);
        act.notice(noticed);
    } else {
        // There is nobody else: it comes back at once.
        director.judge.webhooks.forget();
        director.cluster.start(victim)?;
        director.until(SETTLE_MAX, |director| director.is_agreed());
        act.ended = director.stage.now();
    }
    Ok(act)
}

/// Stops a node for a time, once or again and again, and watches the others' memory.
pub(super) fn stop(director: &mut Director, schedule: &Schedule) -> anyhow::Result<Act> {
    let victim = schedule.victim;
    let mut act = Act::default();
    let others: Vec<u32> = director
        .cluster
        .running()
        .into_iter()
        .filter(|&node| node != victim)
        .filter_map(|node| director.cluster.pid(node))
        .collect();
    let memory = || -> Vec<u64> {
        let pss = |&pid: &u32| process::memory(pid).map_or(0, |memory| memory.pss);
        others.iter().map(pss).collect()
    };
    let (before, mut growth) = (memory(), 0);
    let at = director.stage.now();
    for _ in 0..schedule.times {
        director.stage.set_stopped(victim, true);
        director.cluster.signal(victim, Signal::STOP)?;
        let end = director.stage.now() + schedule.lasts;
        while let Some(left) = end.checked_sub(director.stage.now()) {
            director.pump(left.min(LOOK_EVERY));
            let grown = memory().into_iter().zip(&before).map(|(now, b)| now.saturating_sub(*b));
            growth = growth.max(grown.max().unwrap_or(0));
        }
        let noticed = director.noticed((&[victim], &[victim]), at);
        let old = incarnation(director, victim);
        director.cluster.signal(victim, Signal::CONT)?;
        director.stage.set_stopped(victim, false);
        act.ended = director.stage.now();
        if schedule.kind == Kind::Flap {
            director.pump(schedule.lasts);
            act.ended = director.stage.now();
        } else if noticed.is_some() {
            probe(director, victim, &old, &mut act);
        }
    }
    let noticed = director.noticed((&[victim], &[victim]), at);
    act.notice(noticed);
    #[allow(clippy::cast_precision_loss)]
    act.figure("memory of the others grew, MiB", growth as f64 / f64::from(1 << 20));
    Ok(act)
}

/// Which life of a node is known.
fn incarnation(director: &Director, node: Node) -> Value {
    let looks = director.history.iter().rev().filter(|(of, ..)| *of == node);
    let status = looks.filter_map(|(.., look)| look.status.as_ref()).next();
    status.map(|status| status.node.incarnation.clone()).unwrap_or_default()
}

/// Publishes through a node that has just gone on, until it belongs to the cluster again. What it
/// acknowledges while it is still its old self, which the others have given up, is a zombie's word.
fn probe(director: &mut Director, victim: Node, old: &Value, act: &mut Act) {
    let mut probe = Probe::new(director, victim, (true, PROBE_PATIENCE));
    let (began, mut refused) = (director.stage.now(), 0_u32);
    loop {
        let Published { mark, done_at, outcome, .. } = probe.publish(director);
        let status = watch::look(victim).status;
        let is_old = status.is_some_and(|status| status.node.incarnation == *old);
        if outcome == Outcome::Acknowledged && is_old {
            let after = done_at.saturating_sub(began);
            let what =
                format!("{} acknowledged {mark:?} {after:.2?} after it went on", plan::id(victim));
            director.judge.note(Fault::Zombie, what);
        }
        refused += u32::from(outcome == Outcome::Failed);
        let is_back = outcome == Outcome::Acknowledged && director.is_agreed();
        if is_back || director.stage.now() > began + PROBE_MAX {
            break;
        }
        director.pump(PROBE_EVERY);
    }
    act.figure("publishes that the woken node refused", f64::from(refused));
}

/// Publishes through a node that is cut off from the majority. It names no level: one that is alone
/// refuses `replicated` anyway.
fn probe_minority(
    director: &mut Director,
    victim: Node,
    lasts: Duration,
    act: &mut Act,
) -> anyhow::Result<()> {
    let mut probe = Probe::new(director, victim, (false, MINORITY_PATIENCE));
    let (from, mut refused) = (director.stage.now(), 0_u32);
    while director.stage.now() < from + lasts {
        let published = probe.publish(director);
        let is_late = published.sent_at > from + Cut::FENCED_AFTER;
        refused += u32::from(is_late && published.outcome == Outcome::Failed);
        director.pump(PROBE_EVERY);
    }
    let until = director.stage.now();
    director.judge.cut(Cut { minority: vec![victim], from, until });
    act.figure("publishes that the minority refused", f64::from(refused));
    let clients = director.judge.connections(victim).len();
    act.figure("connections that the minority kept", f64::from(u32::try_from(clients)?));
    Ok(())
}

/// Loses packets or resets connections, and heals.
pub(super) fn cut(director: &mut Director, schedule: &Schedule) -> anyhow::Result<Act> {
    let Schedule { kind, victim, other, lasts, .. } = *schedule;
    let mut act = Act::default();
    let at = director.stage.now();
    match kind {
        Kind::DropOneWay => network::lose(victim, other)?,
        Kind::Reset => network::reset(victim, other)?,
        _ => {
            for node in director.cluster.running().into_iter().filter(|&node| node != victim) {
                network::lose(victim, node)?;
                network::lose(node, victim)?;
            }
        }
    }
    if kind == Kind::Partition && director.is_majority {
        probe_minority(director, victim, lasts, &mut act)?;
    } else {
        director.pump(lasts);
    }
    let packets = network::heal()?;
    act.ended = director.stage.now();
    if kind != Kind::Reset {
        let sides = sides(&director.cluster.running(), kind, victim);
        director.judge.heal(Heal { at: act.ended, sides });
    }
    act.seen.push(format!("{packets} packets met it"));
    let noticed = director.noticed((&[victim, other], &[]), at);
    act.notice(noticed);
    if packets == 0 {
        act.not_run = Some("no packet met the rules".into());
    }
    if kind != Kind::Reset {
        agree(director, &mut act);
    }
    Ok(act)
}

/// The nodes that can reach each other. Who hears one that does not hear it can take either's part.
fn sides(nodes: &[Node], kind: Kind, victim: Node) -> Vec<Vec<Node>> {
    match kind {
        Kind::Partition => {
            let (alone, others) = nodes.iter().partition(|&&node| node == victim);
            vec![alone, others]
        }
        _ => nodes.iter().map(|&node| vec![node]).collect(),
    }
}

/// How long it takes until every channel has one owner again.
fn agree(director: &mut Director, act: &mut Act) {
    let channels = watched(director);
    let patience = Duration::from_secs(5);
    if director.until(patience, |d| d.is_agreed() && d.is_owned_once(&channels)) {
        let after = director.stage.now().saturating_sub(act.ended);
        act.figure("one owner after, ms", milliseconds(after));
    } else {
        let what = format!("no one owner of every channel {patience:?} after the cut");
        director.judge.note(Fault::Unsettled, what);
    }
}
