//! `handbell-loadtest`: what a broker costs beside the bare system calls, measured in one run.
//!
//! Without `--url` it starts the servers itself, one after the other and round about, each on a core
//! of its own. Everything is on 127.0.0.0/8, bounded in count and time, and stops by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use proto::app::Secret;

use handbell_loadtest::assertion::Assertion;
use handbell_loadtest::compare::Comparison;
use handbell_loadtest::dialect::{Credentials, Dialect};
use handbell_loadtest::door::Door;
use handbell_loadtest::html::Page;
use handbell_loadtest::progress::Progress;
use handbell_loadtest::report::{Machine, Report, Series};
use handbell_loadtest::scenario::client_events::ClientEvents;
use handbell_loadtest::scenario::connect_ramp::ConnectRamp;
use handbell_loadtest::scenario::presence_churn::PresenceChurn;
use handbell_loadtest::scenario::reconnect_storm::ReconnectStorm;
use handbell_loadtest::scenario::slow_consumer::SlowConsumer;
use handbell_loadtest::scenario::soak::Soak;
use handbell_loadtest::scenario::{Scenario, fan_out, idle, publish};
use handbell_loadtest::server::{self, Kind, Running, Target};
use handbell_loadtest::{bare, chaos};

/// Measures Handbell, or another server that speaks Pusher's protocol, beside a server that makes
/// nothing but the system calls.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connections that do nothing: memory, CPU per connect, CPU while idle.
    Idle {
        #[command(flatten)]
        idle: idle::Idle,
        #[command(flatten)]
        options: Options,
    },
    /// One channel with many subscribers: CPU and time per delivery.
    FanOut {
        #[command(flatten)]
        fan_out: fan_out::FanOut,
        #[command(flatten)]
        options: Options,
    },
    /// Many channels with few subscribers: CPU and time per publish.
    Publish {
        #[command(flatten)]
        publish: publish::Publish,
        #[command(flatten)]
        options: Options,
    },
    /// Connections that are cut at once and come back: how long that takes, what it costs, and what is
    /// published meanwhile.
    ReconnectStorm {
        #[command(flatten)]
        storm: ReconnectStorm,
        #[command(flatten)]
        options: Options,
    },
    /// Visitors who join and leave presence channels: CPU for each, and time until members are told.
    PresenceChurn {
        #[command(flatten)]
        churn: PresenceChurn,
        #[command(flatten)]
        options: Options,
    },
    /// Clients who publish to their own private channels: CPU and time per delivery.
    ClientEvents {
        #[command(flatten)]
        events: ClientEvents,
        #[command(flatten)]
        options: Options,
    },
    /// Subscribers who stop reading: what that costs the others, and what becomes of them.
    SlowConsumer {
        #[command(flatten)]
        slow: SlowConsumer,
        #[command(flatten)]
        options: Options,
    },
    /// Connections that come faster and faster: how long each of them takes, and what it costs.
    ConnectRamp {
        #[command(flatten)]
        ramp: ConnectRamp,
        #[command(flatten)]
        options: Options,
    },
    /// Publishes, client events, members and connections that come and go, for long: whether anything
    /// goes wrong, and whether memory grows.
    Soak {
        #[command(flatten)]
        soak: Soak,
        #[command(flatten)]
        options: Options,
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

#[derive(Args, Debug)]
#[group(skip)]
struct Options {
    /// The servers that are started and take turns.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bare,handbell")]
    servers: Vec<Kind>,
    /// The doors by which subscribers come in, each measured in its turn. What is published comes by
    /// Pusher's HTTP API. A peer has the first one.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pusher")]
    doors: Vec<Door>,
    /// How often each server is measured; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The program of the broker; by default `handbell` beside this one.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Measure a server that runs already on a loopback address, such as http://127.0.0.1:6001.
    #[arg(long, conflicts_with_all = ["servers", "server"])]
    url: Option<String>,
    /// Its process, to see what it uses.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// Its app's id.
    #[arg(long, default_value = "app-id")]
    app_id: String,
    /// Its app's key.
    #[arg(long, default_value = "app-key")]
    key: String,
    /// Its app's secret.
    #[arg(long, default_value = "app-secret")]
    secret: String,
    /// What has to hold, such as p99<50ms, handbell/sse:private<4KiB or lost==0: cpu, p50, p90, p99, max,
    /// rate, memory, private, idle, lost, duplicated, reordered and closed, of every server but the bare
    /// one, or of the one that is named. If it does not, the exit code is 2.
    #[arg(long = "assert", value_name = "WHAT")]
    assertions: Vec<Assertion>,
    /// Write a report as JSON to this file, or to standard output (-).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with pictures to this file: one page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("handbell-loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True if every delivery went right.
fn run(command: Command) -> anyhow::Result<bool> {
    let (scenario, options) = match command {
        Command::Idle { idle, options } => (Scenario::Idle(idle), options),
        Command::FanOut { fan_out, options } => (Scenario::FanOut(fan_out), options),
        Command::Publish { publish, options } => (Scenario::Publish(publish), options),
        Command::ReconnectStorm { storm, options } => (Scenario::ReconnectStorm(storm), options),
        Command::PresenceChurn { churn, options } => (Scenario::PresenceChurn(churn), options),
        Command::ClientEvents { events, options } => (Scenario::ClientEvents(events), options),
        Command::SlowConsumer { slow, options } => (Scenario::SlowConsumer(slow), options),
        Command::ConnectRamp { ramp, options } => (Scenario::ConnectRamp(ramp), options),
        Command::Soak { soak, options } => (Scenario::Soak(soak), options),
        Command::Compare { a, b, html } => {
            let both = Comparison::read(&a, &b)?;
            print!("{}", both.table());
            html.map_or(Ok(()), |path| both.page().write(&path))?;
            return Ok(true);
        }
        Command::Chaos { options } => return chaos::run(&options),
        Command::Bare { address } => return bare::serve(address).map(|()| true),
        Command::Leash { core, user, program } => return Err(server::leash(core, user, &program)),
    };
    bare::raise_descriptor_limit();
    let machine = Machine::this();
    let servers = match options.target()? {
        Some(target) => measure(&scenario, &options, &Place::There(target))?,
        None => measure(&scenario, &options, &Place::here()?)?,
    };
    let report = Report::new(machine, scenario, servers);
    let is_piped = options.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if !is_piped {
        print!("{}", report.table());
    }
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    let failures: Vec<String> =
        options.assertions.iter().flat_map(|assertion| assertion.failures(&report)).collect();
    if let Some(path) = &options.html {
        Page::of(&report, failures.clone()).write(path)?;
    }
    ensure!(failures.is_empty(), "this does not hold:\n  {}", failures.join("\n  "));
    Ok(report.is_clean())
}

/// What a server is called in reports, with its door unless that is Pusher's.
fn contender((kind, door): (Kind, Door)) -> String {
    match door {
        Door::Pusher => kind.to_string(),
        door => format!("{kind}/{door}"),
    }
}

/// Where the servers are.
enum Place {
    /// Elsewhere on this machine, running already.
    There(Target),
    /// Started by us, on this core.
    Here(Option<usize>),
}

impl Place {
    /// Shares the cores out: one for the servers, another for this process.
    fn here() -> anyhow::Result<Self> {
        let cores = server::two_cores();
        if let Some((_, mine)) = cores {
            server::pin(mine)?;
        }
        Ok(Self::Here(cores.map(|(servers, _)| servers)))
    }
}

/// Runs the scenario against the servers in turn, several times.
fn measure(scenario: &Scenario, options: &Options, place: &Place) -> anyhow::Result<Vec<Series>> {
    let kinds = match place {
        Place::There(_) => &[Kind::Running][..],
        Place::Here(_) => &options.servers,
    };
    let contenders: Vec<(Kind, Door)> = kinds
        .iter()
        .flat_map(|&kind| {
            // The bare server has no doors.
            let doors = if kind == Kind::Bare { &[Door::Pusher][..] } else { &options.doors };
            doors.iter().map(move |&door| (kind, door))
        })
        .filter(|&(kind, door)| scenario.suits(kind, door))
        .collect();
    ensure!(!contenders.is_empty(), "this scenario suits none of these servers and doors");
    let total = u64::from(options.rounds) * contenders.len() as u64;
    let progress = Progress::new(total);
    let mut series: Vec<_> = contenders.iter().map(|&contender| (contender, Vec::new())).collect();
    for number in 1..=options.rounds {
        for ((kind, door), rounds) in &mut series {
            let name = contender((*kind, *door));
            progress.begin(&format!("round {number}, {name}"));
            let round = match place {
                Place::There(target) => {
                    let Target { address, pid, .. } = *target;
                    let dialect = target.dialect.clone().at(*door);
                    scenario.run(&progress, &Target { address, dialect, pid })
                }
                Place::Here(core) => {
                    // A new process each time: memory is compared with an empty server's.
                    let program = options.server.as_ref();
                    let running = Running::start((*kind, *door), program, *core)?;
                    scenario.run(&progress, running.target())
                }
            };
            let round = round.with_context(|| format!("round {number}, {name}"))?;
            let main = round.figures.first();
            let main = main.map(|figure| format!("{}: {:.2}", figure.name, figure.value));
            progress.end(&main.unwrap_or_default());
            rounds.push(round);
        }
    }
    progress.clear();
    let sum = |(kind, rounds)| Series::new(contender(kind), rounds);
    Ok(series.into_iter().map(sum).collect())
}

impl Options {
    /// The server that runs already, if one was named.
    fn target(&self) -> anyhow::Result<Option<Target>> {
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
