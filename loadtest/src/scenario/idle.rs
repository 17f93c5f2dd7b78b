//! Connections that subscribe one channel each and then do nothing: what they cost in memory and in
//! CPU time, when they come and while they stay.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::dialect::channel_name;
use crate::poll::{Interest, Poll};
use crate::process;
use crate::report::Round;
use crate::subscriber::Subscriber;

use super::{Measure, Stage, Usage, subscribe};

/// Time for the server to end what it does when the last connection has come.
const SETTLE: Duration = Duration::from_secs(1);

/// The parameters.
#[derive(Args, Clone, Debug, Serialize)]
#[group(skip)]
pub struct Idle {
    /// How many connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Seconds for which they are held.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    hold: u64,
    /// How many channels they are spread over.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    channels: u32,
    /// Give every connection a channel of its own.
    #[arg(long)]
    own_channel: bool,
}

impl Measure for Idle {
    fn title(&self) -> String {
        let channels =
            if self.own_channel { self.connections } else { self.channels.min(self.connections) };
        let Self { connections, hold, .. } = self;
        format!("idle: {connections} connections in {channels} channels, held for {hold} s")
    }

    fn connections(&self) -> u32 {
        self.connections
    }

    fn run(&self, stage: &Stage<'_>) -> anyhow::Result<Round> {
        let Stage { progress, target, .. } = stage;
        let pid = target
            .pid
            .context("this scenario looks at the server's process: name it with --pid")?;
        let spread = if self.own_channel { self.connections } else { self.channels };
        let channels: Vec<String> =
            (0..self.connections).map(|number| channel_name((number % spread) as usize)).collect();
        let empty = process::memory(pid)?;
        let coming = Usage::begin(Some(pid))?;
        let mut clients = subscribe(stage, &channels)?;
        let came = coming.end()?;
        // Memory that a server takes and gives back while connections come is not theirs.
        hold(&mut clients, SETTLE)?;
        let staying = Usage::begin(Some(pid))?;
        progress.say("holding");
        let closed = hold(&mut clients, Duration::from_secs(self.hold))?;
        let stayed = staying.end()?;
        let full = process::memory(pid)?;

        let count = f64::from(self.connections);
        let each = |full: u64, empty: u64| {
            #[allow(clippy::cast_precision_loss)]
            let more = full as f64 - empty as f64;
            more / count
        };
        let mut round = Round::default();
        round.add("memory / connection (PSS), bytes", each(full.pss, empty.pss));
        let private = each(full.private, empty.private);
        round.add("memory / connection (private), bytes", private);
        let microseconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1e6;
        round.add("server CPU, µs / connect", microseconds(came.server) / count);
        let idle = microseconds(stayed.server) / stayed.wall.as_secs_f64() / 1e4;
        round.add("server CPU while idle, % of a core", idle);
        #[allow(clippy::cast_precision_loss)]
        round.add("empty server (PSS), MiB", empty.pss as f64 / 1_048_576.0);
        Ok(round.with_closed(closed))
    }
}

/// Answers pings for a while. Returns how many connections the server closed.
fn hold(clients: &mut [Subscriber], time: Duration) -> anyhow::Result<u64> {
    let mut poll = Poll::new()?;
    for (token, client) in (0..).zip(clients.iter()) {
        poll.add(client.stream(), token, Interest::Read)?;
    }
    let (until, mut closed) = (Instant::now() + time, 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(closed);
        }
        for index in 0..poll.wait(Some(left))? {
            let (token, _) = poll.ready(index);
            let client = &mut clients[usize::try_from(token)?];
            closed += u64::from(!client.receive(&mut buffer, |_| ())?);
        }
    }
}
