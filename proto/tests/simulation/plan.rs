//! What a seed does: how many nodes, who subscribes where, and what fails, one thing at a time.

use std::time::Duration;

use proto::cluster::quorum::Quorum;
use proto::cluster::view::Phase;

use super::checker::Connection;
use super::client::Habit;
use super::draw::Draw;
use super::live::PAUSE_MAX;
use super::world::{Mutation, World};

/// How long a cluster may take to be whole again after a fault.
const SETTLE_MAX: Duration = Duration::from_secs(15);

/// What is broken.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill(usize),
    Stop(usize, Duration),
    CutOneWay(usize, usize, Duration),
    Cut(usize, usize, Duration),
    Isolate(usize, Duration),
    Reset(usize),
    Refuse(usize, usize, Duration),
    Restart(usize),
    Join,
    Panic(usize),
    Flap(usize),
}

impl Fault {
    fn draw(draw: &mut Draw, nodes: usize) -> Self {
        let node = draw.place(nodes);
        let other = (node + 1 + draw.place(nodes - 1)) % nodes;
        let time = draw.millis(50, 5_000);
        match draw.below(12) {
            0 | 1 => Self::Kill(node),
            2 => Self::Stop(node, time),
            3 => Self::CutOneWay(node, other, time),
            4 => Self::Cut(node, other, time),
            5 => Self::Isolate(node, time),
            6 => Self::Reset(node),
            7 => Self::Restart(node),
            8 => Self::Join,
            9 => Self::Panic(node),
            10 => Self::Refuse(node, other, time / 6),
            _ => Self::Flap(node),
        }
    }

    /// Whether two nodes may have served the same channel.
    fn is_cut(self) -> bool {
        match self {
            Self::Isolate(..) | Self::Cut(..) | Self::CutOneWay(..) | Self::Flap(_) => true,
            Self::Stop(_, time) => time > PAUSE_MAX,
            _ => false,
        }
    }
}

/// What came of a seed.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) plan: String,
    pub(super) violations: Vec<String>,
    pub(super) trace: Vec<String>,
    pub(super) digest: u64,
    pub(super) delivered: u64,
    pub(super) acknowledged: u64,
    pub(super) gaps: u64,
    pub(super) resumed: u64,
}

pub(super) fn run(seed: u64, mutation: Option<Mutation>, is_traced: bool) -> Outcome {
    let mut world = World::new(seed, mutation, is_traced);
    let nodes = 3 + world.draw.place(2);
    for _ in 0..=nodes {
        world.add_place();
    }
    let is_majority = world.draw.one_in(3);
    world.quorum = is_majority.then(|| Quorum::new(nodes));
    for node in 0..nodes {
        world.start(node);
    }
    for number in 0..6 {
        let channels: &[usize] = if number % 2 == 0 { &[0, 1, 3] } else { &[0, 1, 2] };
        // Two clients are one user, at different nodes.
        // And one of the two loses its connection now and then.
        let habit = if number % 2 == 0 { Habit::Stays } else { Habit::Resumes };
        world.add_client(number % nodes, &format!("user-{}", number / 2), channels, habit);
    }
    for number in 0..3 {
        let user = format!("churner-{number}");
        world.add_client((number + 1) % nodes, &user, &[1, 2], Habit::Churns);
    }
    let mut plan = format!("{nodes} nodes, majority {is_majority}");
    settle(&mut world, "the start");
    for number in 0..4 {
        let every = world.draw.millis(20, 120);
        world.add_publisher(number != 3, every);
    }
    world.is_loaded = true;
    let lead = world.draw.millis(300, 1_500);
    world.run_for(lead);
    for _ in 0..1 + world.draw.below(3) {
        let fault = Fault::draw(&mut world.draw, nodes);
        plan += &format!(", {fault:?}");
        world.checker.is_cut |= fault.is_cut();
        world.note(|| format!("=== {fault:?}"));
        inject(&mut world, fault, nodes);
        settle(&mut world, &format!("{fault:?}"));
        let lull = world.draw.millis(200, 1_500);
        world.run_for(lull);
    }
    quiesce(&mut world);
    let checker = &world.checker;
    Outcome {
        plan,
        violations: checker.violations.clone(),
        trace: world.trace.clone().unwrap_or_default().into(),
        digest: world.digest.finish(),
        delivered: checker.delivered,
        acknowledged: checker.acknowledged,
        gaps: checker.gaps,
        resumed: checker.resumed,
    }
}

fn settle(world: &mut World, after: &str) {
    let is_settled = world.run_until(SETTLE_MAX, World::is_settled);
    if !is_settled && world.checker.violations.is_empty() {
        let seen: Vec<String> = world
            .places
            .iter()
            .filter_map(|place| place.life.as_ref())
            .map(|life| {
                let phases: Vec<String> =
                    life.custody.values().map(|c| format!("{:?}", c.phase())).collect();
                let members: Vec<(&str, Phase)> =
                    life.members.iter().map(|m| (m.id.node.as_str(), m.phase)).collect();
                format!("{} sees {members:?} and is {phases:?}", life.me.node)
            })
            .collect();
        world.checker.wrong(format!("not settled {SETTLE_MAX:?} after {after}: {seen:#?}"));
    }
}

fn inject(world: &mut World, fault: Fault, nodes: usize) {
    let both_ways = |one: usize, other: usize| [(one, other), (other, one)];
    let around = |node: usize| -> Vec<(usize, usize)> {
        (0..nodes).filter(|&other| other != node).flat_map(|other| both_ways(node, other)).collect()
    };
    match fault {
        Fault::Kill(node) => {
            world.crash(node);
            let wait = world.draw.millis(0, 4_000);
            world.run_for(wait);
            world.start(node);
        }
        Fault::Stop(node, time) => {
            world.pause(node);
            world.run_for(time);
            world.resume(node);
        }
        Fault::CutOneWay(from, to, time) => cut(world, &[(from, to)], time),
        Fault::Cut(one, other, time) => cut(world, &both_ways(one, other), time),
        Fault::Refuse(one, other, time) => {
            let id = |node: usize| world.places[node].life.as_ref().map(|life| life.me.clone());
            let ends = id(one).zip(id(other));
            if let Some(session) = ends.and_then(|(a, b)| world.network.between(&a, &b)) {
                world.break_both_ways(session);
            }
            cut(world, &both_ways(one, other), time);
        }
        Fault::Isolate(node, time) => cut(world, &around(node), time),
        Fault::Reset(node) => {
            let life = world.places[node].life.as_ref();
            let sessions: Vec<u64> =
                life.into_iter().flat_map(|l| l.peers.values()).filter_map(|p| p.session).collect();
            for session in sessions {
                world.break_both_ways(session);
            }
        }
        Fault::Restart(node) => {
            drain(world, node);
            world.start(node);
        }
        Fault::Join => {
            world.start(nodes);
            settle(world, "a join");
            drain(world, nodes);
        }
        Fault::Panic(node) => world.panic_channel(node),
        Fault::Flap(node) => {
            for _ in 0..3 {
                let time = world.draw.millis(800, 2_500);
                block(world, &around(node), time);
                heal(world, &around(node), false);
                let time = world.draw.millis(300, 2_500);
                world.run_for(time);
            }
        }
    }
}

fn cut(world: &mut World, pairs: &[(usize, usize)], time: Duration) {
    block(world, pairs, time);
    heal(world, pairs, true);
}

/// Packets between some nodes disappear for a while.
fn block(world: &mut World, pairs: &[(usize, usize)], time: Duration) {
    world.network.blocked.extend(pairs);
    world.run_for(time);
}

/// Packets pass again; for some nodes perhaps later than for others.
fn heal(world: &mut World, pairs: &[(usize, usize)], may_be_gradual: bool) {
    let is_gradual = may_be_gradual && world.draw.one_in(2);
    let mut blocked = pairs.to_vec();
    while !blocked.is_empty() {
        let (one, other) = blocked[world.draw.place(blocked.len())];
        let is_healed = |pair: &(usize, usize)| *pair == (one, other) || *pair == (other, one);
        world.network.blocked.retain(|pair| !is_healed(pair));
        blocked.retain(|pair| !is_healed(pair));
        world.flush_network();
        if is_gradual && !blocked.is_empty() {
            let time = world.draw.millis(5, 1_000);
            world.run_for(time);
        }
    }
}

/// Ends a node politely.
fn drain(world: &mut World, node: usize) {
    if let Some(life) = &mut world.places[node].life {
        life.membership.drain();
        life.is_draining = true;
    }
    if !world.run_until(SETTLE_MAX, |world| world.places[node].life.is_none()) {
        world.checker.wrong(format!("node {node} did not end within {SETTLE_MAX:?}"));
    }
}

/// Ends the load, waits until all is quiet, and judges.
fn quiesce(world: &mut World) {
    world.is_loaded = false;
    if !world.run_until(Duration::from_secs(15), World::every_event_is_done) {
        world.checker.wrong("publishes are still being tried".into());
    }
    // Webhooks are held back for three seconds.
    world.run_for(Duration::from_secs(6));
    if !world.checker.violations.is_empty() {
        return;
    }
    let owners: Vec<_> =
        world.keys.iter().map(|key| (key.clone(), world.owner_of(key).cloned())).collect();
    let owners: Vec<_> =
        owners.iter().map(|(key, channel)| (key.clone(), channel.as_ref())).collect();
    let users: Vec<String> = world.clients.iter().map(|client| client.user.clone()).collect();
    let user_of = |connection: Connection| users[(connection & 0xff) as usize].clone();
    world.checker.judge(user_of, &owners);
    if world.quorum.is_some() || !world.checker.is_cut {
        world.checker.judge_ways(&owners);
    }
}
