//! One channel with many subscribers: what a delivery costs when events come one at a time, when
//! they queue up, and when they come in batches.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::checker::Checker;
use crate::dialect::channel_name;
use crate::mark::{MARK_BYTES, Mark};
use crate::publisher::{Publisher, Script};
use crate::report::Round;
use crate::traffic::{Pace, Traffic};

use super::{Measure, Stage, measure, subscribe, warm_up};

/// Events of one batch: Pusher allows no more.
const BATCH: u32 = 10;

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct FanOut {
    /// How many subscribers.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    subscribers: u32,
    /// How many events, those for warming up included; rounded up to as many for every publisher.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    events: u32,
    /// Bytes of an event's data; 100 make a frame of 144.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=10_240))]
    bytes: u32,
    /// When an event is published.
    #[arg(long, value_enum, default_value_t = Mode::OneAtATime)]
    mode: Mode,
    /// With one at a time: so many events a second instead, whatever has come of those before.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// With the other modes: publishers, each with one request unanswered.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    publishers: u32,
    /// Never let the client sleep: then no server pays for waking it, however slow it is.
    #[arg(long)]
    spin: bool,
}

/// When an event is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// When everyone has received the one before.
    OneAtATime,
    /// As soon as its publisher's last request was answered.
    Saturated,
    /// The same, ten events in a request.
    Batches,
}

impl Measure for FanOut {
    fn title(&self) -> String {
        let Self { subscribers, bytes, .. } = self;
        let (publishers, posts, batch) = self.share_out();
        let events = publishers * posts * batch;
        let mode = match (self.mode, self.rate) {
            (Mode::OneAtATime, None) => "one at a time".to_owned(),
            (Mode::OneAtATime, Some(rate)) => format!("{rate} a second"),
            (Mode::Saturated, _) => format!("from {publishers} publishers"),
            (Mode::Batches, _) => format!("in batches of {batch} from {publishers} publishers"),
        };
        format!("fan-out: {events} events of {bytes} bytes to {subscribers} subscribers, {mode}")
    }

    fn connections(&self) -> u32 {
        self.subscribers + self.publishers
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let channel = channel_name(0);
        let channels = vec![channel.clone(); self.subscribers as usize];
        let subscribers = subscribe(stage, &channels)?;
        progress.say("signing");
        let (count, posts, batch) = self.share_out();
        let mut publishers = Vec::new();
        for stream in 0..count {
            let mut script = Script::default();
            for post in 0..posts {
                let number = post * batch;
                let first = Mark { stream, number };
                script.push(target, &channel, (first, batch), self.bytes as usize);
            }
            publishers.push(Publisher::connect(target, script)?);
        }
        let lengths = vec![posts * batch; count as usize];
        let checker = Checker::new(vec![0; subscribers.len()], count, lengths);
        let streams = (count as usize, u64::from(self.subscribers));
        let mut traffic = Traffic::new(subscribers, publishers, self.pace(), checker, streams)?;
        traffic.is_spinning = self.spin;
        progress.say("publishing");
        let warm_up = warm_up(posts as usize);
        measure(stage, (&mut traffic, warm_up), ("delivery", 1))
    }
}

impl FanOut {
    /// Publishers, requests of each, and events of each request: at least as many as were asked for.
    fn share_out(&self) -> (u32, u32, u32) {
        let (publishers, batch) = match self.mode {
            Mode::OneAtATime => (1, 1),
            Mode::Saturated => (self.publishers, 1),
            Mode::Batches => (self.publishers, BATCH),
        };
        (publishers, self.events.div_ceil(publishers * batch), batch)
    }

    fn pace(&self) -> Pace {
        match (self.mode, self.rate) {
            (Mode::OneAtATime, None) => Pace::OneAtATime,
            (Mode::OneAtATime, Some(rate)) => Pace::at(rate),
            (Mode::Saturated | Mode::Batches, _) => Pace::Saturated,
        }
    }
}
