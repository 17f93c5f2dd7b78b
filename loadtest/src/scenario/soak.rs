//! A bit of everything for as long as one likes: publishes, client events, members who join and leave,
//! connections that are cut and come back; and whether the server's memory is at the end what it was.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::checker::Checker;
use crate::dialect::channel_name;
use crate::mark::{MARK_BYTES, Mark};
use crate::report::Round;
use crate::scene::pulse::Pulse;
use crate::scene::{Role, Scene, Seat};
use crate::traffic::nanoseconds;

use super::client_events::private_name;
use super::presence_churn::{presence_name, turn_about};
use super::{Measure, Stage, Usage, memory};

/// Time for the server to end what it does, before memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// How long those who were cut last may take to be back.
const BACK_MAX: Duration = Duration::from_secs(10);

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct Soak {
    /// Seconds for which it goes on, after a tenth as many for warming up.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    seconds: u64,
    /// How many public channels; by the Pusher door there is a private and a presence channel for each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_000))]
    channels: u32,
    /// Subscribers of each channel.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    subscribers: u32,
    /// Things that are done in a second: publishes, and by the Pusher door client events, and joins or
    /// leaves, in turn.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Connections in a second that are cut and come back, each at another channel than the one before.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    cuts: u32,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=10_240))]
    bytes: u32,
}

/// What a soak consists of at one server. Its channels are numbered through: the public ones, then the
/// private and the presence ones, if there are any; each has a stream of its own.
struct Mix<'a> {
    soak: &'a Soak,
    /// Kinds of channels.
    kinds: u32,
    /// The first of the visitors of presence channels.
    visitors: usize,
}

impl Measure for Soak {
    fn title(&self) -> String {
        let Self { seconds, channels, subscribers, rate, cuts, .. } = self;
        format!(
            "soak: {seconds} s of {rate} events and {cuts} cuts a second, {channels} channels of each \
             kind with {subscribers} subscribers"
        )
    }

    fn connections(&self) -> u32 {
        self.channels * (3 * self.subscribers + 1)
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let (mix, mut scene) = Mix::build(self, stage)?;
        progress.say("opening connections");
        scene.assemble(0..mix.visitors + self.channels as usize * usize::from(mix.kinds > 1))?;
        mix.excuse_senders(&mut scene);
        progress.say("warming up");
        mix.go_on(&mut scene, Duration::from_millis(100 * self.seconds))?;
        scene.rest(SETTLE)?;
        let before = memory(target)?;
        scene.tally.forget(scene.now_ns());
        scene.arrivals.forget(scene.now_ns());

        progress.say("soaking");
        let usage = Usage::begin(target.pid)?;
        mix.go_on(&mut scene, Duration::from_secs(self.seconds))?;
        let used = usage.end()?;
        scene.rest(SETTLE)?;
        let after = memory(target)?;
        let mut round = Round::default();
        round.add_usage(&used, scene.tally.delivered, "delivery");
        round.add_quantiles("latency", &scene.tally.latency);
        round.add_rate(scene.tally.delivered, &used);
        round.add_quantiles("back", &scene.arrivals.latency);
        round.add_count("cuts", scene.arrivals.came);
        round.add_memory("at the start", before);
        round.add_memory("at the end", after);
        if let (Some(before), Some(after)) = (before, after) {
            #[allow(clippy::cast_precision_loss)]
            let growth = after.private as f64 / before.private as f64 - 1.0;
            round.add("memory growth (private), %", 100.0 * growth);
        }
        round.faults = scene.faults();
        round.faults.refused = scene.coming() as u64;
        round.recording = scene.recording(stage.began);
        Ok(round)
    }
}

impl<'a> Mix<'a> {
    fn build<'s>(soak: &'a Soak, stage: &Stage<'s>) -> anyhow::Result<(Self, Scene<'s>)> {
        let is_pusher = stage.target.dialect.pusher_app().is_some();
        let kinds = if is_pusher { 3 } else { 1 };
        let streams = soak.channels * kinds;
        let mut first: Vec<u32> = (0..streams * soak.subscribers).map(|c| c % streams).collect();
        let visitors = first.len();
        first.extend(0..soak.channels);
        let mix = Self { soak, kinds, visitors };
        let checker = Checker::of_absent(first.clone(), 1, streams as usize);
        let mut scene = Scene::new(stage.target, (checker, streams as usize), (4, soak.bytes))?;
        for (number, &stream) in first[..visitors].iter().enumerate() {
            let (kind, channel) = (stream / soak.channels, stream % soak.channels);
            let (name, user, role) = match kind {
                0 => (channel_name(channel as usize), None, Role::Subscriber),
                1 => (private_name(channel), None, Role::Subscriber),
                _ => (presence_name(channel), Some(format!("member-{number}")), Role::Member),
            };
            scene.add(Seat { channel: Some(name), user }, role);
        }
        for _ in 0..soak.channels {
            scene.add(Seat { channel: None, user: None }, Role::Visitor);
        }
        Ok((mix, scene))
    }

    /// The first subscriber of each private channel sends.
    fn excuse_senders(&self, scene: &mut Scene<'_>) {
        if self.kinds > 1 {
            let streams = self.soak.channels..2 * self.soak.channels;
            streams.for_each(|stream| scene.tally.checker.excuse(stream as usize, stream));
        }
    }

    /// Does all of it for a time, and then waits until everything has arrived and everybody is back.
    fn go_on(&self, scene: &mut Scene<'_>, time: Duration) -> anyhow::Result<()> {
        let began = scene.now_ns();
        let until = began + nanoseconds(time);
        let mut cuts = Pulse::new(began, self.soak.cuts);
        let mut pulse = Pulse::new(began, self.soak.rate);
        let beat = |scene: &mut Scene<'_>, number, at_ns| self.act(scene, number, at_ns);
        pulse.drive(scene, beat, |scene| {
            let now = scene.now_ns();
            while let Some((number, at_ns)) = cuts.due(now) {
                self.cut(scene, number, at_ns)?;
            }
            self.try_again(scene)?;
            Ok(now >= until)
        })?;
        let given_up = scene.now_ns() + nanoseconds(BACK_MAX);
        while (scene.coming() > 0 || !scene.failed.is_empty()) && scene.now_ns() < given_up {
            self.try_again(scene)?;
            scene.turn(SETTLE)?;
        }
        scene.settle()
    }

    fn act(&self, scene: &mut Scene<'_>, beat: u64, at_ns: u64) -> anyhow::Result<()> {
        // Kinds take turns, and so do the channels of each.
        let (kind, round) = (beat % u64::from(self.kinds), beat / u64::from(self.kinds));
        let channel = round % u64::from(self.soak.channels);
        let (kind, channel) = (u32::try_from(kind)?, u32::try_from(channel)?);
        let stream = kind * self.soak.channels + channel;
        match (kind, scene.target().dialect.pusher_app()) {
            (1, Some(_)) => self.send(scene, (stream, channel), at_ns),
            (2, Some(app)) => {
                let visitor = self.visitors + channel as usize;
                turn_about(scene, (app, visitor), (stream, channel), at_ns)
            }
            _ => scene.publish((stream, channel), at_ns),
        }
    }

    fn send(
        &self,
        scene: &mut Scene<'_>,
        (stream, channel): (u32, u32),
        at_ns: u64,
    ) -> anyhow::Result<()> {
        let number = scene.tally.checker.publish(stream);
        scene.tally.sent(stream, 1, at_ns);
        let data = Mark { stream, number }.data(self.soak.bytes as usize);
        let event = json!({ "event": "client-e", "channel": private_name(channel), "data": data });
        // The first subscribers are those of each stream in turn.
        scene.say(stream as usize, &event.to_string())
    }

    /// Cuts a subscriber of a public channel, who comes back at once, unless it is on its way.
    fn cut(&self, scene: &mut Scene<'_>, number: u64, at_ns: u64) -> anyhow::Result<()> {
        let channels = u64::from(self.soak.channels);
        let count = channels * u64::from(self.soak.subscribers);
        let (row, channel) = (number % count / channels, number % channels);
        let client = usize::try_from(row * channels * u64::from(self.kinds) + channel)?;
        if scene.is_here(client) {
            scene.cut(client);
            scene.come(client, at_ns)?;
        }
        Ok(())
    }

    /// Whoever was not let in comes again.
    fn try_again(&self, scene: &mut Scene<'_>) -> anyhow::Result<()> {
        while let Some(client) = scene.failed.pop_front() {
            scene.come(client, scene.now_ns())?;
        }
        Ok(())
    }
}
