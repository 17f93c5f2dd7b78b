//! Connections that come faster and faster, whether or not the ones before have been let in: how long
//! each of them takes from when it was due until it is subscribed, and whether it really is.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::checker::Checker;
use crate::dialect::channel_name;
use crate::report::Round;
use crate::scene::{Role, Scene, Seat};

use super::{Measure, Stage, Usage, memory};

/// How long nobody may arrive before those who are on their way count as refused.
const STALL_NS: u64 = 10_000_000_000;
/// Connections that are begun before anything else is looked at.
const AT_ONCE: usize = 32;
/// Events that show, at the end, who is subscribed: so many to each channel.
const EVENTS: u32 = 3;
/// Bytes of their data.
const BYTES: u32 = 100;

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct ConnectRamp {
    /// How many connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Connections in a second at the end; it begins with none.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many channels they are spread over.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    channels: u32,
}

impl Measure for ConnectRamp {
    fn title(&self) -> String {
        let Self { connections, rate, channels } = self;
        format!(
            "connect-ramp: {connections} connections to {channels} channels, from none to {rate} a second"
        )
    }

    fn connections(&self) -> u32 {
        self.connections
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let spread: Vec<u32> = (0..self.connections).map(|number| number % self.channels).collect();
        let streams = self.channels as usize;
        let checker = Checker::of_absent(spread.clone(), 1, streams);
        let mut scene = Scene::new(target, (checker, streams), (1, BYTES))?;
        for channel in spread {
            let channel = Some(channel_name(channel as usize));
            scene.add(Seat { channel, user: None }, Role::Subscriber);
        }
        let before = memory(target)?;
        progress.say("connecting");
        scene.arrivals.forget(scene.now_ns());
        let usage = Usage::begin(target.pid)?;
        let refused = self.connect(&mut scene)?;
        let used = usage.end()?;
        let after = memory(target)?;

        progress.say("publishing");
        scene.tally.forget(scene.now_ns());
        for _ in 0..EVENTS {
            (0..self.channels).try_for_each(|c| scene.publish((c, c), scene.now_ns()))?;
        }
        scene.settle()?;
        let mut round = Round::default();
        let came = scene.arrivals.came;
        round.add_usage(&used, came, "connect");
        round.add_quantiles("connect", &scene.arrivals.latency);
        #[allow(clippy::cast_precision_loss)]
        round.add("connections / s", came as f64 / used.wall.as_secs_f64());
        if let (Some(before), Some(after)) = (before, after) {
            #[allow(clippy::cast_precision_loss)]
            let each = (after.private as f64 - before.private as f64) / came.max(1) as f64;
            round.add("memory / connection (private), bytes", each);
        }
        round.faults = scene.faults();
        round.faults.refused = refused;
        round.recording = scene.recording(stage.began);
        Ok(round)
    }
}

impl ConnectRamp {
    /// Opens them when they are due. Returns how many were not let in.
    fn connect(&self, scene: &mut Scene<'_>) -> anyhow::Result<u64> {
        let (began, count) = (scene.now_ns(), self.connections);
        let (mut next, mut last) = (0, (began, 0));
        while next < count || scene.arrivals.came + scene.arrivals.failed < count.into() {
            let now = scene.now_ns();
            for _ in 0..AT_ONCE {
                let due_ns = began + self.due_ns(next);
                if next == count || due_ns > now {
                    break;
                }
                scene.come(next as usize, due_ns)?;
                next += 1;
            }
            let due_ns = if next < count { began + self.due_ns(next) } else { u64::MAX };
            scene.turn(Duration::from_nanos(due_ns.saturating_sub(now)))?;
            let done = scene.arrivals.came + scene.arrivals.failed;
            if done != last.1 || done == u64::from(next) {
                last = (now, done);
            }
            if now - last.0 > STALL_NS {
                break;
            }
        }
        Ok(u64::from(count) - scene.arrivals.came)
    }

    /// When a connection is due, since the beginning: the rate grows evenly.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn due_ns(&self, number: u32) -> u64 {
        let count = f64::from(self.connections);
        let seconds = 2.0 * count / f64::from(self.rate);
        (seconds * (f64::from(number) / count).sqrt() * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_faster_and_faster() {
        let ramp = ConnectRamp { connections: 1_000, rate: 500, channels: 1 };
        assert_eq!(ramp.due_ns(0), 0);
        // A quarter of them in half of the four seconds, and the last ones 2 ms apart.
        assert_eq!(ramp.due_ns(250), 2_000_000_000);
        let apart = ramp.due_ns(999) - ramp.due_ns(998);
        assert!((1_990_000..2_010_000).contains(&apart), "{apart}");
    }
}
