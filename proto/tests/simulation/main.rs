//! Simulation: nodes, clients and publishers in one thread, on virtual time, from one seed.
//!
//! The machines are the very types that the node runs; what lies between them (mailboxes, queues,
//! links, tasks) is delayed, interleaved, cut and killed as the seed says. Checkers watch from outside.
//!
//! `SIM_SEED=… SIM_SEEDS=… cargo test -p handbell-proto --test simulation`; a seed that fails says what
//! was wrong and the last things that happened.

mod actor;
mod checker;
mod client;
mod draw;
mod links;
mod live;
mod network;
mod node;
mod plan;
mod questions;
mod serve;
mod shard;
mod world;

use plan::{Outcome, run};
use world::Mutation;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Runs a seed again with a trace, and says what went wrong.
fn explain(seed: u64, outcome: &Outcome) -> String {
    let again = run(seed, None, true);
    let mut text = format!("SIM_SEED={seed} {}\n", outcome.plan);
    for line in &again.trace {
        text += &format!("{line}\n");
    }
    assert_eq!(again.digest, outcome.digest, "the seed does not replay");
    text + &format!("{:#?}", outcome.violations)
}

/// Runs every so-manyth seed, and returns what was acknowledged, delivered, told as a gap and gone on
/// with.
fn run_every(step: usize, seeds: std::ops::Range<u64>) -> [u64; 4] {
    let mut sums = [0; 4];
    for seed in seeds.step_by(step) {
        let outcome = run(seed, None, false);
        assert!(outcome.violations.is_empty(), "{}", explain(seed, &outcome));
        let Outcome { acknowledged, delivered, gaps, resumed, .. } = outcome;
        let more = [acknowledged, delivered, gaps, resumed];
        sums = [0, 1, 2, 3].map(|at| sums[at] + more[at]);
    }
    sums
}

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let (first, count) = (number("SIM_SEED", 1), number("SIM_SEEDS", 2_000));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sums = std::thread::scope(|scope| {
        let start =
            |offset: u64| scope.spawn(move || run_every(threads, first + offset..first + count));
        let running: Vec<_> = (0..threads as u64).map(start).collect();
        let ended = running.into_iter().map(|thread| thread.join().expect("a seed has failed"));
        ended.fold([0; 4], |sum, more: [u64; 4]| [0, 1, 2, 3].map(|at| sum[at] + more[at]))
    });
    let [acknowledged, delivered, gaps, resumed] = sums;
    println!(
        "{count} seeds: {acknowledged} acknowledged, {delivered} delivered, {gaps} gaps told, \
         {resumed} times gone on"
    );
    assert!(acknowledged > count && delivered > acknowledged, "the load has run");
    assert!(resumed > count && resumed > gaps, "clients have gone on");
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in 1..10 {
        assert_eq!(run(seed, None, false).digest, run(seed, None, true).digest, "seed {seed}");
    }
}

#[test]
fn what_is_broken_in_the_protocol_is_caught() {
    let all = [
        Mutation::SkipReplica,
        Mutation::DropFence,
        Mutation::ForgetRelay,
        Mutation::DeliverAfterGap,
    ];
    for mutation in all {
        let caught =
            (1..=1_000).find(|&seed| !run(seed, Some(mutation), false).violations.is_empty());
        assert!(caught.is_some(), "{mutation:?} went unseen");
        println!("{mutation:?}: caught by seed {}", caught.unwrap_or_default());
    }
}
