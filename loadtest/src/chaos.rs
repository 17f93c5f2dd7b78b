//! Chaos: real nodes, real clients, and faults that are drawn from seeds; an online judge says whether
//! anything happened that may not.
//!
//! A [`schedule`] says what is broken. The director starts the nodes (`cluster`) in a network of
//! their own (`network`) and the load: tabs, back ends, a webhook sink, and a watcher for each node.
//! All of them report an [`observation`] at a time, and the [`judge`], which is pure, takes them.
//! `act` carries one schedule out, and `summary` says what a run came to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use crate::descriptors;
use crate::report::write_json;

mod act;
mod backend;
mod call;
mod cluster;
mod crowd;
mod director;
pub mod judge;
mod network;
pub mod observation;
mod plan;
pub mod schedule;
mod sink;
mod stage;
mod summary;
mod tab;
mod watch;

use act::{Outcome, SETTLE_MAX};
use cluster::Settings;
use crowd::Crowd;
use director::{Director, Load};
use judge::verdict::{Fault, Verdict};
use plan::Size;
use schedule::{Kind, SMOKE_SEEDS, Schedule};
use summary::{Hooks, Summary};

/// How long the last webhooks may take: vacated and removed wait for 3 s.
const HOOKS_MAX: Duration = Duration::from_secs(12);
/// After so long under load, nodes do not take more memory for it.
const STEADY_AFTER: Duration = Duration::from_secs(20);
/// Nodes have addresses from 127.0.0.11 on, and one more can join.
const NODES_MAX: u64 = 9;

/// One fault again and again, for its figures.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Measure {
    /// Kill the owner: how long until its channels deliver again.
    Failover,
    /// Stop a node for long: what the others pay, and what it does when it wakes.
    Stall,
    /// Restart all nodes in turn.
    Rolling,
    /// Let a node join.
    Join,
    /// Cut a node off for ten seconds.
    Partition,
}

/// What nodes do that cannot reach the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PartitionMode {
    /// Every part serves its own clients.
    Availability,
    /// Only the part with more than half of the nodes serves.
    Majority,
}

/// What is done.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Nodes; with one there is no cluster, and only restarts and kills.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many schedules, each with the next seed.
    #[arg(long, default_value_t = 10)]
    schedules: u32,
    /// Draw these kinds of faults only.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Kind>,
    /// Six fixed seeds with little load, within a minute.
    #[arg(long, conflicts_with_all = ["seed", "schedules", "faults", "measure"])]
    smoke: bool,
    /// Measure one thing instead.
    #[arg(long, value_enum, conflicts_with_all = ["faults", "schedules"])]
    measure: Option<Measure>,
    /// Measure what very many channels cost the nodes instead; `join` begins with one node.
    #[arg(long, value_enum, conflicts_with_all = ["measure", "smoke", "faults", "schedules"])]
    crowd: Option<Crowd>,
    /// How many channels.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    crowd_channels: u32,
    /// How often they come and go.
    #[arg(long, default_value_t = 20)]
    crowd_rounds: u32,
    /// How often it is measured; by default 20 failovers, 1 stall, and 3 of the others.
    #[arg(long, requires = "measure")]
    times: Option<u32>,
    /// How many seconds a stall lasts.
    #[arg(long, default_value_t = 60)]
    stall_seconds: u64,
    /// What the nodes are told to do in a partition, and are judged by.
    #[arg(long, value_enum, default_value_t = PartitionMode::Availability)]
    partition_mode: PartitionMode,
    /// Publishes a second.
    #[arg(long, default_value_t = 400)]
    rate: u32,
    /// Events that are published in one request.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    batch: u32,
    /// Channels that are published to.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(8..=4000))]
    channels: u32,
    /// Clients that stay subscribed.
    #[arg(long, default_value_t = 36, value_parser = clap::value_parser!(u64).range(6..=2000))]
    tabs: u64,
    /// Clients that come and go.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(0..=100))]
    churners: u64,
    /// No back end uses keys: what nodes remember of them for two minutes is memory, too.
    #[arg(long)]
    unkeyed: bool,
    /// Back ends; every fourth uses no idempotency keys.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    publishers: u32,
    /// Over how long a node closes its connections; by default 5s to measure, else 1s.
    #[arg(long)]
    drain_window: Option<String>,
    /// The program of the broker; by default `handbell` beside this one.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// An earlier version of the program, that the nodes begin with; see the fault `upgrade`.
    #[arg(long, value_name = "PATH")]
    server_before: Option<PathBuf>,
    /// Only every second node begins with the earlier version.
    #[arg(long, requires = "server_before")]
    mixed: bool,
    /// Where configurations and logs go; kept if it is given, or if anything fails.
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Write a report as JSON to this file, or to standard output (-).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the schedules. True if nothing happened that may not.
///
/// # Errors
/// If the runner itself cannot work: no root, no nft, no program.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    network::enter()?;
    descriptors::raise();
    let nodes = usize::try_from(options.nodes)?;
    let is_upgrade = options.faults.contains(&Kind::Upgrade);
    ensure!(!is_upgrade || options.server_before.is_some(), "an upgrade needs --server-before");
    ensure!(!options.is_majority() || nodes >= 3, "a majority needs three nodes");
    let schedules = options.draw(nodes);
    ensure!(!schedules.is_empty(), "there is nothing to run");
    network::prepare(nodes + 1)?;
    let folder = options.folder()?;
    if let Some(crowd) = options.crowd {
        options.say(&options.run_crowd(crowd, nodes, &folder)?);
        return Ok(true);
    }
    let mut director = options.start(nodes, &folder)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut end = Verdict::default();
    for (number, schedule) in (1..).zip(&schedules) {
        if let Err(why) = director.settle(SETTLE_MAX) {
            options.say(&format!("{number:>4} seed {}: not settled: {why}", schedule.seed));
            end.add(Fault::Unsettled, 1, || why);
            break;
        }
        let outcome = act::run(&mut director, schedule, options.smoke)?;
        options.say(&summary::line(number, &outcome));
        options.show_examples(&outcome.verdict);
        if !outcome.verdict.is_clean() {
            let (replay, logs) = (options.replay(schedule), folder.display());
            options.say(&format!("       replay: {replay}; logs: {logs}"));
        }
        outcomes.push(outcome);
    }
    let hooks = last_webhooks(&mut director, &mut end);
    options.show_examples(&end);
    drop(director);
    let summary = Summary::new(nodes, outcomes, (hooks, &end));
    options.finish(&summary, &folder)
}

/// Waits for the last webhooks, and judges them.
fn last_webhooks(director: &mut Director, end: &mut Verdict) -> Hooks {
    // What was broken last is mended first.
    if let Err(why) = director.settle(SETTLE_MAX) {
        end.add(Fault::Unsettled, 1, || why);
    }
    director.until(HOOKS_MAX, |d| d.judge.webhooks.wrong(&d.there()).is_empty());
    let webhooks = &director.judge.webhooks;
    let found = webhooks.verdict(&director.there());
    end.absorb(&found);
    end.examples.extend(found.examples);
    let found = Hooks {
        received: webhooks.received,
        repeated: webhooks.repeated,
        told_by_both_sides: webhooks.told_by_both_sides,
        without_id: webhooks.without_id,
    };
    let rest = director.judge.verdict(judge::Terms::default());
    end.absorb(&rest);
    end.examples.extend(rest.examples);
    found
}

impl Options {
    fn is_majority(&self) -> bool {
        self.partition_mode == PartitionMode::Majority
    }

    fn draw(&self, nodes: usize) -> Vec<Schedule> {
        let kinds = if self.faults.is_empty() { Kind::all(nodes) } else { &self.faults };
        if let Some(measure) = self.measure {
            return self.measured(measure, nodes);
        }
        let seeds: Vec<u64> = match self.smoke {
            true => SMOKE_SEEDS.into(),
            false => (self.seed..).take(self.schedules as usize).collect(),
        };
        let draw = |seed| {
            let drawn = Schedule::draw(seed, nodes, kinds);
            if self.is_majority() { drawn.fenced() } else { drawn }
        };
        seeds.into_iter().map(draw).collect()
    }

    fn measured(&self, measure: Measure, nodes: usize) -> Vec<Schedule> {
        let (kind, times, lasts) = match measure {
            Measure::Failover => (Kind::KillOwner, 20, None),
            Measure::Stall => (Kind::Stop, 1, Some(Duration::from_secs(self.stall_seconds))),
            Measure::Rolling => (Kind::Rolling, 3, None),
            Measure::Join => (Kind::Join, 3, None),
            Measure::Partition => (Kind::Partition, 3, Some(Duration::from_secs(10))),
        };
        let seeds = (self.seed..).take(self.times.unwrap_or(times) as usize);
        let schedules = seeds.map(|seed| {
            let drawn = Schedule::draw(seed, nodes, &[kind]);
            // Memory that a node takes under load anyway is not the stopped peer's doing.
            let lead = if kind == Kind::Stop { STEADY_AFTER } else { drawn.lead };
            Schedule { lasts: lasts.unwrap_or(drawn.lasts), lead, ..drawn }
        });
        schedules.collect()
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        let own = || std::env::temp_dir().join(format!("handbell-chaos-{}", std::process::id()));
        let folder = self.logs.clone().unwrap_or_else(own);
        fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        Ok(folder)
    }

    fn run_crowd(&self, crowd: Crowd, nodes: usize, folder: &Path) -> anyhow::Result<String> {
        let nodes = if crowd == Crowd::Join { 1 } else { nodes };
        let channels = usize::try_from(self.crowd_channels)?;
        let size = crowd::Size { nodes, channels, rounds: self.crowd_rounds };
        let settings = self.settings(nodes)?;
        let settings = Settings { is_cluster: true, is_forgetful: true, ..settings };
        crowd::run(crowd, size, (folder, settings))
    }

    fn settings(&self, nodes: usize) -> anyhow::Result<Settings> {
        let beside = std::env::current_exe()?.with_file_name("handbell");
        let drain_window = if self.measure.is_some() { "5s" } else { "1s" };
        Ok(Settings {
            program: self.server.clone().unwrap_or(beside),
            before: self.server_before.clone(),
            is_mixed: self.mixed,
            is_cluster: nodes > 1,
            majority_of: Some(nodes).filter(|_| self.is_majority()),
            seeds: nodes,
            is_forgetful: false,
            drain_window: self.drain_window.clone().unwrap_or_else(|| drain_window.into()),
        })
    }

    fn start(&self, nodes: usize, folder: &Path) -> anyhow::Result<Director> {
        let size = Size {
            nodes,
            channels: self.channels,
            tabs: usize::try_from(self.tabs)?,
            churners: usize::try_from(self.churners)?,
            publishers: self.publishers,
        };
        let load = |rate| Load { rate, batch: self.batch, is_unkeyed: self.unkeyed };
        let (size, load) = match self.smoke {
            true => (Size { channels: 100, tabs: 24, ..size }, load(self.rate.min(200))),
            false => (size, load(self.rate)),
        };
        Director::start(folder, self.settings(nodes)?, size, load)
    }

    /// The options that run a schedule again.
    fn replay(&self, schedule: &Schedule) -> String {
        let what = match self.measure {
            Some(measure) => {
                let name = measure.to_possible_value().map(|v| v.get_name().to_owned());
                format!("--measure {} --times 1", name.unwrap_or_default())
            }
            None => "--schedules 1".into(),
        };
        let faults = self.faults.iter().filter_map(ValueEnum::to_possible_value);
        let faults: Vec<String> = faults.map(|value| value.get_name().to_owned()).collect();
        let faults = match faults.is_empty() {
            true => String::new(),
            false => format!(" --faults {}", faults.join(",")),
        };
        let mode = if self.is_majority() { " --partition-mode majority" } else { "" };
        let before = self.server_before.as_ref();
        let before = before.map(|path| format!(" --server-before {}", path.display()));
        let mixed = if self.mixed { " --mixed" } else { "" };
        let rest = format!("{mode}{}{mixed}", before.unwrap_or_default());
        format!("chaos --nodes {} --seed {} {what}{faults}{rest}", self.nodes, schedule.seed)
    }

    /// Says something on standard output, unless that is where the JSON goes.
    fn say(&self, text: &str) {
        let is_piped = self.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
        if is_piped {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }

    fn show_examples(&self, verdict: &Verdict) {
        for example in &verdict.examples {
            self.say(&format!("       {example}"));
        }
    }

    fn finish(&self, summary: &Summary, folder: &Path) -> anyhow::Result<bool> {
        self.say(&format!("\n{}", summary.table()));
        if let Some(path) = &self.json {
            write_json(summary, path)?;
        }
        let is_clean = summary.is_clean();
        if is_clean && self.logs.is_none() {
            fs::remove_dir_all(folder)?;
        } else {
            eprintln!("logs: {}", folder.display());
        }
        Ok(is_clean)
    }
}
