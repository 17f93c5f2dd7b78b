//! Many channels with few subscribers each: what a publish costs when it is signed, parsed and
//! looked up for a handful of deliveries.

use clap::Args;
use serde::Serialize;

use crate::checker::Checker;
use crate::dialect::channel_name;
use crate::mark::{MARK_BYTES, Mark};
use crate::publisher::{Publisher, Script};
use crate::report::Round;
use crate::server::Target;
use crate::traffic::{Pace, Traffic};

use super::{Measure, Stage, measure, subscribe, warm_up};

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct Publish {
    /// How many channels.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    channels: u32,
    /// How many subscribers each channel has.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// How many events, those for warming up included; rounded up to as many for every channel.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    events: u32,
    /// Bytes of an event's data; 100 make a frame of 144.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=10_240))]
    bytes: u32,
    /// So many events a second, whatever has come of those before; else as fast as publishers can.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Publishers, each with one request unanswered. A channel's events all come from one.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    publishers: u32,
    /// Never let the client sleep: then no server pays for waking it, however slow it is.
    #[arg(long)]
    spin: bool,
}

impl Measure for Publish {
    fn title(&self) -> String {
        let Self { channels, subscribers, bytes, publishers, .. } = self;
        let events = self.per_channel() * channels;
        let rate = self.rate.map(|rate| format!(", {rate} a second")).unwrap_or_default();
        format!(
            "publish: {events} events of {bytes} bytes to {channels} channels with {subscribers} subscribers each, from {publishers} publishers{rate}"
        )
    }

    fn connections(&self) -> u32 {
        self.channels * self.subscribers + self.publishers
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let numbers: Vec<u32> = (0..self.channels)
            .flat_map(|channel| std::iter::repeat_n(channel, self.subscribers as usize))
            .collect();
        let names: Vec<String> = numbers.iter().map(|&n| channel_name(n as usize)).collect();
        let subscribers = subscribe(stage, &names)?;
        progress.say("signing");
        let scripts = self.scripts(target);
        let warm_up = warm_up(scripts.iter().map(Script::requests).max().unwrap_or(0));
        let publishers = scripts
            .into_iter()
            .map(|script| Publisher::connect(target, script))
            .collect::<Result<_, _>>()?;
        let lengths = vec![self.per_channel(); self.channels as usize];
        let checker = Checker::new(numbers, 1, lengths);
        let streams = (self.channels as usize, u64::from(self.subscribers));
        let pace = self.rate.map_or(Pace::Saturated, Pace::at);
        let mut traffic = Traffic::new(subscribers, publishers, pace, checker, streams)?;
        traffic.is_spinning = self.spin;
        progress.say("publishing");
        let per = ("publish", u64::from(self.subscribers));
        measure(stage, (&mut traffic, warm_up), per)
    }
}

impl Publish {
    /// Every publisher goes round its own channels.
    fn scripts(&self, target: &Target) -> Vec<Script> {
        let count = self.publishers.min(self.channels);
        let script = |publisher| {
            let mut script = Script::default();
            for number in 0..self.per_channel() {
                for stream in (publisher..self.channels).step_by(count as usize) {
                    let channel = channel_name(stream as usize);
                    let first = Mark { stream, number };
                    script.push(target, &channel, (first, 1), self.bytes as usize);
                }
            }
            script
        };
        (0..count).map(script).collect()
    }

    const fn per_channel(&self) -> u32 {
        self.events.div_ceil(self.channels)
    }
}
