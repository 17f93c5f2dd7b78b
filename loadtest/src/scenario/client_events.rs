//! Clients who publish to their own private channels over their own connections: what a delivery costs
//! without HTTP, and whether everybody but the sender gets it.

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::checker::Checker;
use crate::door::Door;
use crate::mark::{MARK_BYTES, Mark};
use crate::report::Round;
use crate::scene::pulse::Pulse;
use crate::scene::{Role, Scene, Seat};
use crate::server::Kind;

use super::{Measure, Stage, Usage};

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct ClientEvents {
    /// How many private channels.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    channels: u32,
    /// How many subscribers each channel has, those who send included.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    subscribers: u32,
    /// How many of them send.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
    senders: u32,
    /// Events in a second, over all senders. A server that runs already has a limit for each connection,
    /// which this has to keep.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=10_240))]
    bytes: u32,
    /// Seconds for which they send, after a tenth as many for warming up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

impl Measure for ClientEvents {
    fn title(&self) -> String {
        let Self { channels, subscribers, rate, bytes, seconds, .. } = self;
        format!(
            "client-events: {rate} a second of {bytes} bytes for {seconds} s, from {} of {subscribers} \
             subscribers in each of {channels} channels",
            self.senders()
        )
    }

    fn connections(&self) -> u32 {
        self.channels * self.subscribers
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let mut scene = self.scene(stage)?;
        progress.say("opening connections");
        scene.assemble(0..self.connections() as usize)?;
        self.excuse_senders(&mut scene);

        progress.say("sending");
        let began = scene.now_ns();
        let mut pulse = Pulse::new(began, self.rate);
        let warm = began + self.seconds * 100_000_000;
        let until = warm + self.seconds * 1_000_000_000;
        let beat = |scene: &mut Scene<'_>, number, at_ns| self.send(scene, number, at_ns);
        pulse.drive(&mut scene, beat, |scene| Ok(scene.now_ns() >= warm))?;
        scene.tally.forget(scene.now_ns());
        let usage = Usage::begin(target.pid)?;
        let beat = |scene: &mut Scene<'_>, number, at_ns| self.send(scene, number, at_ns);
        pulse.drive(&mut scene, beat, |scene| Ok(scene.now_ns() >= until))?;
        scene.settle()?;
        let used = usage.end()?;

        let mut round = Round::default();
        round.add_usage(&used, scene.tally.delivered, "delivery");
        round.add_quantiles("latency", &scene.tally.latency);
        round.add_rate(scene.tally.delivered, &used);
        #[allow(clippy::cast_precision_loss)]
        round.add("frame, bytes", scene.tally.frame_bytes as f64);
        round.faults = scene.faults();
        round.recording = scene.recording(stage.began);
        Ok(round)
    }

    fn suits(&self, _kind: Kind, door: Door) -> bool {
        door == Door::Pusher
    }
}

impl ClientEvents {
    fn senders(&self) -> u32 {
        self.senders.min(self.subscribers)
    }

    /// A stream for each sender; the senders of a channel are its first subscribers.
    fn scene<'a>(&self, stage: &Stage<'a>) -> anyhow::Result<Scene<'a>> {
        let senders = self.senders();
        let channels =
            (0..self.channels).flat_map(|c| std::iter::repeat_n(c, self.subscribers as usize));
        let channels: Vec<u32> = channels.collect();
        let streams = (self.channels * senders) as usize;
        let first = channels.iter().map(|channel| channel * senders).collect();
        let checker = Checker::of_absent(first, senders, streams);
        let mut scene = Scene::new(stage.target, (checker, streams), (0, 0))?;
        for channel in channels {
            let channel = Some(private_name(channel));
            scene.add(Seat { channel, user: None }, Role::Subscriber);
        }
        Ok(scene)
    }

    /// Nobody gets what they send themselves.
    fn excuse_senders(&self, scene: &mut Scene<'_>) {
        for stream in 0..self.channels * self.senders() {
            scene.tally.checker.excuse(self.sender(stream), stream);
        }
    }

    /// The client that sends a stream.
    fn sender(&self, stream: u32) -> usize {
        let (channel, sender) = (stream / self.senders(), stream % self.senders());
        (channel * self.subscribers + sender) as usize
    }

    fn send(&self, scene: &mut Scene<'_>, beat: u64, at_ns: u64) -> anyhow::Result<()> {
        let stream = u32::try_from(beat % u64::from(self.channels * self.senders()))?;
        let number = scene.tally.checker.publish(stream);
        scene.tally.sent(stream, 1, at_ns);
        let channel = private_name(stream / self.senders());
        let data = Mark { stream, number }.data(self.bytes as usize);
        let event = json!({ "event": "client-e", "channel": channel, "data": data });
        scene.say(self.sender(stream), &event.to_string())
    }
}

pub(super) fn private_name(channel: u32) -> String {
    format!("private-{channel:03}")
}
