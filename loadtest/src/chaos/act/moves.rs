//! What operators do: restarts, nodes that join, nodes that leave. Nothing may fail.

use std::time::Duration;

use rustix::process::Signal;

use super::super::director::Director;
use super::super::judge::largest_wave;
use super::super::judge::verdict::Fault;
use super::super::observation::{Channel, Node};
use super::super::plan;
use super::super::schedule::Kind;
use super::{Act, SETTLE_MAX};

/// The code with which a client is sent to another node.
const GO_ELSEWHERE: Option<u16> = Some(4200);
/// Closes are counted over so long.
const WAVE: Duration = Duration::from_millis(250);

/// Restarts all nodes, one after the other; in an upgrade, with the other program.
pub(super) fn rolling(director: &mut Director, kind: Kind) -> anyhow::Result<Act> {
    let mut act = Act::default();
    for node in director.cluster.running() {
        terminate(director, node, &mut act)?;
        if director.stage.ack.is_none() {
            director.judge.webhooks.forget();
        }
        if kind == Kind::Upgrade {
            let is_later = director.cluster.exchange(node);
            act.seen.push(if is_later { "upgraded".into() } else { "rolled back".into() });
        }
        director.cluster.start(node)?;
        if !director.until(SETTLE_MAX, |director| director.is_agreed()) {
            let what = format!("{} did not come back: {:?}", plan::id(node), director.looks);
            director.judge.note(Fault::Unsettled, what);
        }
    }
    act.ended = director.stage.now();
    Ok(act)
}

/// A node leaves.
pub(super) fn leave(director: &mut Director, victim: Node) -> anyhow::Result<Act> {
    let mut act = Act::default();
    terminate(director, victim, &mut act)?;
    director.until(SETTLE_MAX, |director| director.is_agreed());
    act.ended = director.stage.now();
    Ok(act)
}

/// A further node joins.
pub(super) fn join(director: &mut Director) -> anyhow::Result<Act> {
    let mut act = Act::default();
    let channels: Vec<Channel> = director.stage.plan.published.clone().collect();
    let before = director.owners(&channels);
    let (began, newcomer) = (director.stage.now(), director.stage.plan.size.nodes);
    director.cluster.start(newcomer)?;
    let is_in = director.until(SETTLE_MAX, |director| director.is_agreed());
    act.ended = director.stage.now();
    let took = act.ended.saturating_sub(began);
    if !is_in {
        act.not_run = Some(format!("the node did not join within {SETTLE_MAX:?}"));
        return Ok(act);
    }
    act.seen.push(format!("{} joined in {took:.2?}", plan::id(newcomer)));
    act.figure("joined after, ms", super::milliseconds(took));
    let after = director.owners(&channels);
    let moved = before.iter().filter(|&(channel, owner)| after.get(channel) != Some(owner)).count();
    if before.is_empty() || after.is_empty() {
        act.seen.push("owners not available".into());
    } else {
        #[allow(clippy::cast_precision_loss)]
        let share = 100.0 * moved as f64 / before.len() as f64;
        act.figure("channels moved, %", share);
    }
    Ok(act)
}

/// Ends a node politely and checks its manners: it exits with 0, and every client is told to go
/// elsewhere.
pub(super) fn terminate(director: &mut Director, node: Node, act: &mut Act) -> anyhow::Result<()> {
    let id = plan::id(node);
    let at = director.stage.now();
    let connections = director.judge.connections(node).len();
    director.cluster.signal(node, Signal::TERM)?;
    let mut status = None;
    director.until(SETTLE_MAX, |director| {
        status = director.cluster.ended(node);
        status.is_some()
    });
    match status {
        Some(status) if status.success() => act.seen.push(format!("{id} exited")),
        Some(status) => director.judge.note(Fault::Unannounced, format!("{id}: {status}")),
        None => {
            let what = format!("{id} does not exit within {SETTLE_MAX:?}");
            director.judge.note(Fault::Unannounced, what);
            director.cluster.signal(node, Signal::KILL)?;
            director.until(SETTLE_MAX, |director| director.cluster.ended(node).is_some());
        }
    }
    // The clients' reports may be a moment behind.
    director.until(Duration::from_secs(1), |d| d.judge.connections(node).is_empty());
    let closed = director.judge.closed().filter(|(closed, of)| *of == node && closed.at >= at);
    let closed: Vec<_> = closed.map(|(closed, _)| *closed).collect();
    for closed in closed.iter().filter(|closed| closed.code != GO_ELSEWHERE) {
        let what = format!("{id} closed {:#x} with {:?}", closed.connection, closed.code);
        director.judge.note(Fault::Unannounced, what);
    }
    let announced = closed.iter().filter(|closed| closed.code == GO_ELSEWHERE).count();
    act.seen.push(format!("{announced} of {connections} connections got 4200"));
    let wave = largest_wave(closed.iter().map(|closed| closed.at).collect(), WAVE);
    if connections > 0 {
        #[allow(clippy::cast_precision_loss)]
        act.figure("largest wave of closes in 250 ms, %", 100.0 * wave as f64 / connections as f64);
    }
    if connections > 0 && announced == 0 {
        act.not_run = Some(format!("nobody got 4200 from {id}"));
    }
    let took = director.stage.now().saturating_sub(at);
    act.figure("exit after, ms", super::milliseconds(took));
    Ok(())
}
