//! Subscribers who stop reading while events are published: what that costs those who read, what it
//! costs the server, and that it closes them, or gives them everything when they read again.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::checker::Checker;
use crate::dialect::channel_name;
use crate::mark::MARK_BYTES;
use crate::report::Round;
use crate::scene::pulse::Pulse;
use crate::scene::{Role, Scene, Seat};

use super::{Measure, Stage, Usage, memory, milliseconds};

/// The code by which a server says that a client may come back at once: it was too slow.
const TOO_SLOW: u16 = 4100;
/// Time for the server to end what it does.
const SETTLE: Duration = Duration::from_millis(500);

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct SlowConsumer {
    /// How many subscribers read.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    subscribers: u32,
    /// How many stop reading.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    slow: u32,
    /// Events in a second, to the one channel.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of an event's data. Times the rate and the seconds, it has to be more than sockets and the
    /// server's queue hold, or nobody is too slow.
    #[arg(long, default_value_t = 8_192, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=10_240))]
    bytes: u32,
    /// Seconds for which all read, and then for which the slow ones do not.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

impl Measure for SlowConsumer {
    fn title(&self) -> String {
        let Self { subscribers, slow, rate, bytes, seconds } = self;
        format!(
            "slow-consumer: {rate} events a second of {bytes} bytes to {subscribers} subscribers, and to \
             {slow} who stop reading for {seconds} s"
        )
    }

    fn connections(&self) -> u32 {
        self.subscribers + self.slow
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let everyone = self.connections() as usize;
        let slow = self.subscribers as usize..everyone;
        let checker = Checker::of_absent(vec![0; everyone], 1, 1);
        let mut scene = Scene::new(target, (checker, 1), (1, self.bytes))?;
        for number in 0..everyone {
            let role = if slow.contains(&number) { Role::Sluggard } else { Role::Subscriber };
            scene.add(Seat { channel: Some(channel_name(0)), user: None }, role);
        }
        progress.say("opening connections");
        scene.assemble(0..everyone)?;
        scene.tally.forget(scene.now_ns());

        progress.say("everybody reads");
        self.publish(&mut scene)?;
        scene.settle()?;
        let calm = scene.tally.latency.value_at_quantile(0.99);
        let before = memory(target)?;
        scene.tally.latency.reset();
        scene.tally.delivered = 0;
        progress.say("some do not read");
        slow.clone().try_for_each(|number| scene.deafen(number))?;
        let usage = Usage::begin(target.pid)?;
        self.publish(&mut scene)?;
        scene.rest(SETTLE)?;
        let used = usage.end()?;
        let meanwhile = memory(target)?;
        let (latency, delivered) = (scene.tally.latency.clone(), scene.tally.delivered);

        progress.say("they read again");
        slow.clone().try_for_each(|number| scene.listen(number))?;
        scene.settle()?;
        let mut round = Round::default();
        round.add_usage(&used, delivered, "delivery");
        round.add_quantiles("latency", &latency);
        round.add("latency p99 while all read, ms", milliseconds(calm));
        round.add_rate(delivered, &used);
        let closed = scene.let_go.len();
        let too_slow = scene.let_go.iter().filter(|(_, code)| *code == Some(TOO_SLOW)).count();
        let is_whole =
            |number: &usize| scene.is_here(*number) && scene.tally.checker.owed(*number) == 0;
        let whole = slow.clone().filter(is_whole).count();
        for (name, count) in [
            ("slow ones that were closed", closed),
            ("slow ones that were told 4100", too_slow),
            ("slow ones that got everything", whole),
        ] {
            round.add_count(name, count as u64);
        }
        round.add_memory("before", before);
        round.add_memory("while some do not read", meanwhile);
        round.add_memory("after", memory(target)?);
        round.faults = scene.faults();
        round.recording = scene.recording(stage.began);
        Ok(round)
    }
}

impl SlowConsumer {
    /// Publishes for the time.
    fn publish(&self, scene: &mut Scene<'_>) -> anyhow::Result<()> {
        let mut pulse = Pulse::new(scene.now_ns(), self.rate);
        let until = scene.now_ns() + self.seconds * 1_000_000_000;
        let beat = |scene: &mut Scene<'_>, _, at_ns| scene.publish((0, 0), at_ns);
        pulse.drive(scene, beat, |scene| Ok(scene.now_ns() >= until))
    }
}
