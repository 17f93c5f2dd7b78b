//! Many connections that are cut at once and all come back at once: until when everybody is subscribed
//! again, what each of them costs, and what those who stayed notice of it.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::checker::Checker;
use crate::dialect::channel_name;
use crate::mark::MARK_BYTES;
use crate::report::Round;
use crate::scene::pulse::Pulse;
use crate::scene::{Role, Scene, Seat};
use crate::traffic::nanoseconds;

use super::{Measure, Stage, Usage, Used, memory, milliseconds};

/// Connections that are begun without looking at anything else, so that what is published meanwhile
/// does not wait for this process.
const AT_ONCE: usize = 32;
/// Time for the server to end what it does when the last one is back.
const SETTLE: Duration = Duration::from_millis(500);
/// When who could not come back tries again.
const AGAIN_NS: u64 = 250_000_000;

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct ReconnectStorm {
    /// How many connections are cut.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How many stay, and show what the storm does to others.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    watchers: u32,
    /// How many channels both are spread over.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    channels: u32,
    /// Events that are published in a second, before, meanwhile and after, each to the next channel.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=10_240))]
    bytes: u32,
    /// Seconds before and after the storm.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    calm: u64,
    /// Seconds until those who are not back are given up, as refused.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
}

impl Measure for ReconnectStorm {
    fn title(&self) -> String {
        let Self { connections, watchers, channels, rate, .. } = self;
        format!(
            "reconnect-storm: {connections} connections in {channels} channels are cut and come back, \
             {watchers} stay, {rate} events a second"
        )
    }

    fn connections(&self) -> u32 {
        self.connections + self.watchers
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let count = self.connections as usize;
        let all: Vec<u32> = (0..self.connections)
            .chain(0..self.watchers)
            .map(|number| number % self.channels)
            .collect();
        let streams = self.channels as usize;
        let checker = Checker::of_absent(all.clone(), 1, streams);
        let mut scene = Scene::new(target, (checker, streams), (8, self.bytes))?;
        for channel in all {
            let seat = Seat { channel: Some(channel_name(channel as usize)), user: None };
            scene.add(seat, Role::Subscriber);
        }
        progress.say("opening connections");
        scene.assemble(0..self.connections() as usize)?;
        let before = memory(target)?;
        let mut pulse = Pulse::new(scene.now_ns(), self.rate);
        scene.tally.forget(scene.now_ns());

        progress.say("calm");
        let calm_time = Duration::from_secs(self.calm);
        self.keep_calm(&mut scene, &mut pulse, calm_time)?;
        let calm = scene.tally.latency.value_at_quantile(0.99);
        scene.tally.latency.reset();
        scene.arrivals.forget(scene.now_ns());
        progress.say("storm");
        let usage = Usage::begin(target.pid)?;
        let time_ns = self.storm(&mut scene, &mut pulse)?;
        self.keep_calm(&mut scene, &mut pulse, SETTLE)?;
        // What was published in the storm and came late has come by now.
        let meanwhile = scene.tally.latency.clone();
        // Little happens in the rest but what the storm has left to do.
        let used = Used { wall: Duration::from_nanos(time_ns), ..usage.end()? };
        progress.say("calm again");
        self.keep_calm(&mut scene, &mut pulse, calm_time)?;
        scene.settle()?;
        let mut round = Round::default();
        round.add("all back after, ms", milliseconds(time_ns));
        round.add_quantiles("back", &scene.arrivals.latency);
        round.add_usage(&used, count as u64, "reconnect");
        round.add_quantiles("latency", &meanwhile);
        round.add("calm latency p99, ms", milliseconds(calm));
        round.add_count("failed attempts", scene.arrivals.failed);
        round.add_memory("before", before);
        round.add_memory("after", memory(target)?);
        round.faults = scene.faults();
        round.faults.refused = count as u64 - scene.arrivals.came.min(count as u64);
        round.recording = scene.recording(stage.began);
        Ok(round)
    }
}

impl ReconnectStorm {
    /// Publishes for a time.
    fn keep_calm<'a>(
        &self,
        scene: &mut Scene<'a>,
        pulse: &mut Pulse,
        time: Duration,
    ) -> anyhow::Result<()> {
        let until = scene.now_ns() + nanoseconds(time);
        let beat = |scene: &mut Scene<'a>, number, at| self.publish(scene, number, at);
        pulse.drive(scene, beat, |scene| Ok(scene.now_ns() >= until))
    }

    /// Cuts them all, and waits until they are back or given up. Returns how long that took.
    fn storm<'a>(&self, scene: &mut Scene<'a>, pulse: &mut Pulse) -> anyhow::Result<u64> {
        let count = self.connections as usize;
        let cut_ns = scene.now_ns();
        (0..count).for_each(|number| scene.cut(number));
        let mut away: VecDeque<(usize, u64)> = (0..count).map(|number| (number, 0)).collect();
        let came = count as u64;
        let until = cut_ns + self.patience * 1_000_000_000;
        let beat = |scene: &mut Scene<'a>, number, at| self.publish(scene, number, at);
        pulse.drive(scene, beat, |scene| {
            let now = scene.now_ns();
            for number in scene.failed.drain(..) {
                away.push_back((number, now + AGAIN_NS));
            }
            for _ in 0..AT_ONCE {
                match away.front() {
                    Some(&(number, due_ns)) if due_ns <= now => {
                        away.pop_front();
                        scene.come(number, cut_ns)?;
                    }
                    _ => break,
                }
            }
            Ok(scene.arrivals.came >= came || now >= until)
        })?;
        Ok(scene.now_ns() - cut_ns)
    }

    fn publish(&self, scene: &mut Scene<'_>, number: u64, at_ns: u64) -> anyhow::Result<()> {
        let channel = u32::try_from(number % u64::from(self.channels))?;
        scene.publish((channel, channel), at_ns)
    }
}
