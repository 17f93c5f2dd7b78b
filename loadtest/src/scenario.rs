//! What can be measured. A scenario runs against one server at a time and returns figures; which
//! servers, and how often, is not its business.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::checker::Faults;
use crate::client;
use crate::door::Door;
use crate::process::{self, Memory};
use crate::progress::Progress;
use crate::report::Round;
use crate::sampler::Sampler;
use crate::server::{Kind, Target};
use crate::subscriber::Subscriber;
use crate::traffic::Traffic;

pub mod client_events;
pub mod connect_ramp;
pub mod fan_out;
pub mod idle;
pub mod presence_churn;
pub mod publish;
pub mod reconnect_storm;
pub mod slow_consumer;
pub mod soak;

/// One of them, with its parameters.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Scenario {
    /// Connections that do nothing.
    Idle(idle::Idle),
    /// One channel with many subscribers.
    FanOut(fan_out::FanOut),
    /// Many channels with few subscribers.
    Publish(publish::Publish),
    /// Connections that are cut at once and come back.
    ReconnectStorm(reconnect_storm::ReconnectStorm),
    /// Visitors who join and leave presence channels.
    PresenceChurn(presence_churn::PresenceChurn),
    /// Clients who publish to their own channels.
    ClientEvents(client_events::ClientEvents),
    /// Subscribers who stop reading.
    SlowConsumer(slow_consumer::SlowConsumer),
    /// Connections that come faster and faster.
    ConnectRamp(connect_ramp::ConnectRamp),
    /// A bit of everything, for long.
    Soak(soak::Soak),
}

/// What each scenario says of itself.
trait Measure {
    /// What it does, for people.
    fn title(&self) -> String;

    /// Connections that it needs at most.
    fn connections(&self) -> u32;

    /// Runs it once.
    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round>;

    /// Whether a server can be measured by it whose subscribers come in by this door.
    fn suits(&self, _kind: Kind, _door: Door) -> bool {
        true
    }
}

impl Scenario {
    fn measure(&self) -> &dyn Measure {
        match self {
            Self::Idle(idle) => idle,
            Self::FanOut(fan_out) => fan_out,
            Self::Publish(publish) => publish,
            Self::ReconnectStorm(storm) => storm,
            Self::PresenceChurn(churn) => churn,
            Self::ClientEvents(events) => events,
            Self::SlowConsumer(slow) => slow,
            Self::ConnectRamp(ramp) => ramp,
            Self::Soak(soak) => soak,
        }
    }

    /// Runs it once.
    ///
    /// # Errors
    /// If the server or the load test fails; deliveries that go wrong are figures.
    pub fn run(&self, progress: &Progress, target: &Target) -> anyhow::Result<Round> {
        let stage = Stage { progress, target, began: Instant::now() };
        let sampler = target.pid.map(|pid| Sampler::start(pid, stage.began));
        let round = self.measure().run(&stage);
        let server = sampler.map(Sampler::stop).unwrap_or_default();
        let mut round = round?;
        round.recording.server = server;
        Ok(round)
    }

    /// What it does, for people.
    #[must_use]
    pub fn title(&self) -> String {
        self.measure().title()
    }

    /// Connections that it needs at most.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.measure().connections()
    }

    /// Whether a server can be measured by it whose subscribers come in by this door.
    #[must_use]
    pub fn suits(&self, kind: Kind, door: Door) -> bool {
        self.measure().suits(kind, door)
    }
}

/// What a scenario has to work with.
struct Stage<'a> {
    progress: &'a Progress,
    target: &'a Target,
    /// When the round began: the zero of everything over time.
    began: Instant,
}

/// Opens subscribers of these channels.
fn subscribe(stage: &Stage<'_>, channels: &[String]) -> anyhow::Result<Vec<Subscriber>> {
    let Stage { progress, target, .. } = stage;
    let total = channels.len();
    let streams = client::open(target, channels, |opened| {
        progress.say(&format!("{opened} of {total} connections"));
    })?;
    let is_stream = target.dialect.is_stream();
    Ok(streams.into_iter().map(|stream| Subscriber::new(stream).reads_events(is_stream)).collect())
}

/// CPU time and wall time from a moment on.
struct Usage {
    pid: Option<u32>,
    server: Duration,
    client: Duration,
    began: Instant,
}

/// What was used between two moments.
struct Used {
    /// By the server, if it may be looked at.
    server: Option<Duration>,
    client: Duration,
    wall: Duration,
}

impl Usage {
    fn begin(pid: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            pid,
            server: pid.map(process::cpu).transpose()?.unwrap_or_default(),
            client: process::cpu(std::process::id())?,
            began: Instant::now(),
        })
    }

    fn end(&self) -> anyhow::Result<Used> {
        let wall = self.began.elapsed();
        let server = self.pid.map(process::cpu).transpose()?;
        Ok(Used {
            server: server.map(|server| server.saturating_sub(self.server)),
            client: process::cpu(std::process::id())?.saturating_sub(self.client),
            wall,
        })
    }
}

/// Warms up, measures, and writes down the figures that fan-out and publish share; `per` says what
/// one unit of work is called and how many deliveries it is.
fn measure(
    stage: &Stage<'_>,
    (traffic, warm_up): (&mut Traffic, usize),
    per: (&'static str, u64),
) -> anyhow::Result<Round> {
    traffic.run(warm_up)?;
    traffic.forget();
    let usage = Usage::begin(stage.target.pid)?;
    traffic.run(usize::MAX)?;
    let used = usage.end()?;
    let mut round = Round::default();
    let (unit, deliveries) = per;
    #[allow(clippy::cast_precision_loss)]
    let units = (traffic.tally.delivered.max(1) as f64) / deliveries as f64;
    if let Some(server) = used.server {
        let name = format!("server CPU, µs / {unit}");
        round.add(&name, server.as_secs_f64() * 1e6 / units);
    }
    round.add_quantiles("latency", &traffic.tally.latency);
    let seconds = used.wall.as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    round.add("deliveries / s", traffic.tally.delivered as f64 / seconds);
    if let Some(server) = used.server {
        round.add("server busy, % of a core", 100.0 * server.as_secs_f64() / seconds);
    }
    round.add("client busy, % of a core", 100.0 * used.client.as_secs_f64() / seconds);
    #[allow(clippy::cast_precision_loss)]
    round.add("frame, bytes", traffic.tally.frame_bytes as f64);
    round.faults = traffic.faults();
    round.recording = traffic.recording(stage.began);
    Ok(round)
}

#[allow(clippy::cast_precision_loss)]
fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The server's memory, if it may be looked at.
fn memory(target: &Target) -> anyhow::Result<Option<Memory>> {
    target.pid.map(process::memory).transpose()
}

/// How many of so many requests are for warming up: a tenth, and one at least.
const fn warm_up(requests: usize) -> usize {
    requests.div_ceil(10)
}

impl Round {
    /// Adds how long something took, in ms.
    fn add_quantiles(&mut self, what: &str, latency: &Histogram<u64>) {
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            self.add(
                &format!("{what} {name}, ms"),
                milliseconds(latency.value_at_quantile(quantile)),
            );
        }
    }

    /// Adds what the server used for each of so many units, and how busy both sides were meanwhile.
    fn add_usage(&mut self, used: &Used, units: u64, unit: &str) {
        let seconds = used.wall.as_secs_f64();
        if let Some(server) = used.server {
            #[allow(clippy::cast_precision_loss)]
            let each = server.as_secs_f64() * 1e6 / units.max(1) as f64;
            self.add(&format!("server CPU, µs / {unit}"), each);
            self.add("server busy, % of a core", 100.0 * server.as_secs_f64() / seconds);
        }
        self.add("client busy, % of a core", 100.0 * used.client.as_secs_f64() / seconds);
    }

    /// Adds the server's private memory at some time.
    #[allow(clippy::cast_precision_loss)]
    fn add_memory(&mut self, when: &str, memory: Option<Memory>) {
        let mib = memory.map(|memory| memory.private as f64 / 1_048_576.0);
        mib.into_iter().for_each(|mib| self.add(&format!("memory {when} (private), MiB"), mib));
    }

    /// Adds how many deliveries there were in a second.
    #[allow(clippy::cast_precision_loss)]
    fn add_rate(&mut self, deliveries: u64, used: &Used) {
        self.add("deliveries / s", deliveries as f64 / used.wall.as_secs_f64());
    }

    fn with_closed(mut self, closed: u64) -> Self {
        self.faults = self.faults.plus(Faults { closed, ..Faults::default() });
        self
    }
}
