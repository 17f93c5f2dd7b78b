//! Visitors who join and leave presence channels: what a join costs that all members are told of, and
//! whether every one of them is told of every join and leave, once and in order.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::checker::Checker;
use crate::dialect::Credentials;
use crate::door::Door;
use crate::door::Join;
use crate::mark::Mark;
use crate::report::Round;
use crate::scene::pulse::Pulse;
use crate::scene::{Role, Scene, Seat};
use crate::server::Kind;

use super::{Measure, Stage, Usage, memory};

/// Bytes of a user id: those of a mark.
const ID_BYTES: usize = 0;
/// Time for the server to end what it does when the last member has come.
const SETTLE: Duration = Duration::from_millis(500);

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct PresenceChurn {
    /// How many presence channels.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    channels: u32,
    /// Members of each channel who stay. The server's limit of members has to allow one more.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    members: u32,
    /// Joins and leaves in a second, over all channels: each channel has a visitor, who joins, leaves,
    /// joins as somebody else, and so on.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds for which they do.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

impl Measure for PresenceChurn {
    fn title(&self) -> String {
        let Self { channels, members, rate, seconds } = self;
        format!(
            "presence-churn: {rate} joins and leaves a second for {seconds} s, in {channels} presence \
             channels of {members}"
        )
    }

    fn connections(&self) -> u32 {
        self.channels * (self.members + 1)
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let app = target.dialect.pusher_app();
        let app = app.context("presence channels are joined by the Pusher door")?;
        let (mut scene, visitors) = self.scene(stage)?;
        progress.say("opening connections");
        scene.assemble(0..self.connections() as usize)?;
        scene.rest(SETTLE)?;
        let before = memory(target)?;
        scene.tally.forget(scene.now_ns());
        scene.visits = 0;

        progress.say("joining and leaving");
        let usage = Usage::begin(target.pid)?;
        let mut pulse = Pulse::new(scene.now_ns(), self.rate);
        let until = scene.now_ns() + self.seconds * 1_000_000_000;
        let beat = |scene: &mut Scene<'_>, number: u64, at_ns: u64| {
            let channel = u32::try_from(number % u64::from(self.channels))?;
            turn_about(scene, (app, visitors + channel as usize), (channel, channel), at_ns)
        };
        pulse.drive(&mut scene, beat, |scene| Ok(scene.now_ns() >= until))?;
        scene.settle()?;
        let used = usage.end()?;

        let mut round = Round::default();
        // A visitor's last join may not have been followed by its leave.
        let pairs = pulse.beats().div_ceil(2);
        round.add_usage(&used, pairs, "join and leave");
        round.add_quantiles("latency", &scene.tally.latency);
        #[allow(clippy::cast_precision_loss)]
        round.add("joins / s", scene.visits as f64 / used.wall.as_secs_f64());
        round.add_rate(scene.tally.delivered, &used);
        round.add_memory("before", before);
        round.add_memory("after", memory(target)?);
        round.faults = scene.faults();
        round.recording = scene.recording(stage.began);
        Ok(round)
    }

    /// The bare server knows nobody.
    fn suits(&self, kind: Kind, door: Door) -> bool {
        kind != Kind::Bare && door == Door::Pusher
    }
}

impl PresenceChurn {
    /// Members of all channels, and then a visitor for each channel. Returns the first visitor.
    fn scene<'a>(&self, stage: &Stage<'a>) -> anyhow::Result<(Scene<'a>, usize)> {
        let count = self.channels * self.members;
        let mut streams: Vec<u32> = (0..count).map(|member| member % self.channels).collect();
        streams.extend(0..self.channels);
        let checker = Checker::of_absent(streams, 1, self.channels as usize);
        let mut scene = Scene::new(stage.target, (checker, self.channels as usize), (0, 0))?;
        for member in 0..count {
            let channel = Some(presence_name(member % self.channels));
            scene.add(Seat { channel, user: Some(format!("member-{member}")) }, Role::Member);
        }
        for _ in 0..self.channels {
            scene.add(Seat { channel: None, user: None }, Role::Visitor);
        }
        Ok((scene, count as usize))
    }
}

pub(super) fn presence_name(channel: u32) -> String {
    format!("presence-{channel:04}")
}

/// A visitor who is not in its channel joins it, as somebody new; one who is leaves it.
pub(super) fn turn_about(
    scene: &mut Scene<'_>,
    (app, visitor): (&Credentials, usize),
    (stream, channel): (u32, u32),
    at_ns: u64,
) -> anyhow::Result<()> {
    let number = scene.tally.checker.publish(stream);
    scene.tally.sent(stream, 1, at_ns);
    let name = presence_name(channel);
    let is_join = number.is_multiple_of(2);
    let words = if is_join {
        let user = Mark { stream, number: number / 2 }.data(ID_BYTES);
        Join::new(app, &name, Some(&user)).request(scene.socket_id(visitor))
    } else {
        let data = serde_json::json!({ "channel": name });
        serde_json::json!({ "event": "pusher:unsubscribe", "data": data }).to_string()
    };
    scene.say(visitor, &words)
}
