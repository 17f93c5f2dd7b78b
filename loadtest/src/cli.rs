//! The command line: every scenario with its own options, and those that all of them have.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use proto::app::Secret;

use handbell_loadtest::assertion::Assertion;
use handbell_loadtest::chaos;
use handbell_loadtest::dialect::{Credentials, Dialect};
use handbell_loadtest::door::Door;
use handbell_loadtest::scenario::client_events::ClientEvents;
use handbell_loadtest::scenario::connect_ramp::ConnectRamp;
use handbell_loadtest::scenario::fan_out::FanOut;
use handbell_loadtest::scenario::idle::Idle;
use handbell_loadtest::scenario::presence_churn::PresenceChurn;
use handbell_loadtest::scenario::publish::Publish;
use handbell_loadtest::scenario::reconnect_storm::ReconnectStorm;
use handbell_loadtest::scenario::slow_consumer::SlowConsumer;
use handbell_loadtest::scenario::soak::Soak;
use handbell_loadtest::server::{Kind, Target};

/// Measures Handbell, or another server that speaks Pusher's protocol, beside a server that makes
/// nothing but the system calls.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A scenario and the options that all of them have.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Measured<S: Args> {
    #[command(flatten)]
    pub(crate) scenario: S,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connections that do nothing: memory, CPU per connect, CPU while idle.
    Idle(Measured<Idle>),
    /// One channel with many subscribers: CPU and time per delivery.
    FanOut(Measured<FanOut>),
    /// Many channels with few subscribers: CPU and time per publish.
    Publish(Measured<Publish>),
    /// Connections that are cut at once and come back: how long that takes, what it costs, and what is
    /// published meanwhile.
    ReconnectStorm(Measured<ReconnectStorm>),
    /// Visitors who join and leave presence channels: CPU for each, and time until members are told.
    PresenceChurn(Measured<PresenceChurn>),
    /// Clients who publish to their own private channels: CPU and time per delivery.
    ClientEvents(Measured<ClientEvents>),
    /// Subscribers who stop reading: what that costs the others, and what becomes of them.
    SlowConsumer(Measured<SlowConsumer>),
    /// Connections that come faster and faster: how long each of them takes, and what it costs.
    ConnectRamp(Measured<ConnectRamp>),
    /// Publishes, client events, members and connections that come and go, for long: whether anything
    /// goes wrong, and whether memory grows.
    Soak(Measured<Soak>),
    /// A scenario from a file, such as --print-toml prints.
    Run {
        /// The file.
        file: PathBuf,
        /// Options that hold in the place of the file's.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        others: Vec<OsString>,
    },
    /// Two reports side by side.
    Compare {
        /// A report that was written with --json.
        a: PathBuf,
        /// Another one.
        b: PathBuf,
        /// Write both as one page with pictures to this file.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Real nodes, real clients, and faults drawn from seeds: whether anything is lost.
    Chaos {
        #[command(flatten)]
        options: chaos::Options,
    },
    /// The bare server.
    #[command(hide = true)]
    Bare { address: SocketAddr },
    /// Becomes a program that ends with its parent.
    #[command(hide = true)]
    Leash {
        #[arg(long)]
        core: Option<usize>,
        #[arg(long)]
        user: Option<u32>,
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

/// Options of every scenario.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Options {
    /// The servers that are started and take turns.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bare,handbell")]
    pub(crate) servers: Vec<Kind>,
    /// The doors by which subscribers come in, each measured in its turn. What is published comes by
    /// Pusher's HTTP API. A peer has the first one.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pusher")]
    pub(crate) doors: Vec<Door>,
    /// How often each server is measured; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The program of the broker; by default `handbell` beside this one.
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Measure a server that runs already on a loopback address, such as http://127.0.0.1:6001.
    #[arg(long, conflicts_with_all = ["servers", "server"])]
    pub(crate) url: Option<String>,
    /// Its process, to see what it uses.
    #[arg(long, requires = "url")]
    pub(crate) pid: Option<u32>,
    /// Its app's id.
    #[arg(long, default_value = "app-id")]
    pub(crate) app_id: String,
    /// Its app's key.
    #[arg(long, default_value = "app-key")]
    pub(crate) key: String,
    /// Its app's secret.
    #[arg(long, default_value = "app-secret")]
    pub(crate) secret: String,
    /// What has to hold, such as p99<50ms, handbell/sse:private<4KiB or lost==0: cpu, p50, p90, p99, max,
    /// rate, memory, private, idle, back, connect, growth, lost, duplicated, reordered, closed and refused,
    /// of every server but the bare one, or of the one that is named. If it does not, the exit code is 2.
    #[arg(long = "assert", value_name = "WHAT")]
    pub(crate) assertions: Vec<Assertion>,
    /// Write a report as JSON to this file, or to standard output (-).
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a report with pictures to this file: one page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print this scenario as a file for `run`, and do nothing.
    #[arg(long)]
    pub(crate) print_toml: bool,
}

impl<S: Args> Measured<S> {
    /// Both apart.
    pub(crate) fn with<T>(self, wrap: impl FnOnce(S) -> T) -> (T, Options) {
        (wrap(self.scenario), self.options)
    }
}

impl Command {
    /// The options that all scenarios have, if it is one.
    pub(crate) const fn options(&self) -> Option<&Options> {
        Some(match self {
            Self::Idle(Measured { options, .. })
            | Self::FanOut(Measured { options, .. })
            | Self::Publish(Measured { options, .. })
            | Self::ReconnectStorm(Measured { options, .. })
            | Self::PresenceChurn(Measured { options, .. })
            | Self::ClientEvents(Measured { options, .. })
            | Self::SlowConsumer(Measured { options, .. })
            | Self::ConnectRamp(Measured { options, .. })
            | Self::Soak(Measured { options, .. }) => options,
            _ => return None,
        })
    }
}

impl Options {
    /// The server that runs already, if one was named.
    pub(crate) fn target(&self) -> anyhow::Result<Option<Target>> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        let host = url.strip_prefix("http://").unwrap_or(url);
        let address: SocketAddr = host.trim_end_matches('/').parse().with_context(|| {
            format!("--url is an address and a port, such as http://127.0.0.1:6001, not {url}")
        })?;
        let is_near = address.ip().is_loopback();
        ensure!(is_near, "only loopback addresses are put under load, not {address}");
        let credentials = Credentials {
            app_id: self.app_id.clone(),
            key: self.key.clone(),
            secret: Secret::new(&*self.secret),
        };
        let (dialect, pid) = (Dialect::Pusher(credentials, Door::default()), self.pid);
        Ok(Some(Target { address, dialect, pid }))
    }
}

#[cfg(test)]
mod tests;
