//! `handbell-loadtest`: what a broker costs beside the bare system calls, measured in one run.
//!
//! Without `--url` it starts the servers itself, one after the other and round about, each on a core
//! of its own. Everything is on 127.0.0.0/8, bounded in count and time, and stops by itself.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{CommandFactory as _, FromArgMatches as _};

use handbell_loadtest::compare::Comparison;
use handbell_loadtest::door::Door;
use handbell_loadtest::html::Page;
use handbell_loadtest::progress::Progress;
use handbell_loadtest::report::{Machine, Report, Series};
use handbell_loadtest::scenario::Scenario;
use handbell_loadtest::server::{self, Kind, Running, Target};
use handbell_loadtest::{bare, chaos, descriptors, file};

use cli::{Cli, Command, Options};

mod cli;

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("handbell-loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Reads the command line, which may name a file with another one. True if every delivery went right.
fn start() -> anyhow::Result<bool> {
    let mut matches = Cli::command().get_matches();
    if let Command::Run { file, others } = Cli::from_arg_matches(&matches)?.command {
        let arguments = file::arguments(&Cli::command(), &file, &others)?;
        matches = file::matches(Cli::command(), &file, arguments)?;
    }
    let command = Cli::from_arg_matches(&matches)?.command;
    let is_example = command.options().is_some_and(|options| options.print_toml);
    match matches.subcommand() {
        Some((name, matches)) if is_example => {
            print!("{}", file::example(&Cli::command(), name, matches));
            Ok(true)
        }
        _ => run(command),
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Compare { a, b, html } => {
            let both = Comparison::read(&a, &b)?;
            print!("{}", both.table());
            html.map_or(Ok(()), |path| both.page().write(&path))?;
            Ok(true)
        }
        Command::Chaos { options } => chaos::run(&options),
        Command::Bare { address } => bare::serve(address).map(|()| true),
        Command::Leash { core, user, program } => Err(server::leash(core, user, &program)),
        Command::Run { .. } => anyhow::bail!("a file names a scenario, not another file"),
        Command::Idle(measured) => report(measured.with(Scenario::Idle)),
        Command::FanOut(measured) => report(measured.with(Scenario::FanOut)),
        Command::Publish(measured) => report(measured.with(Scenario::Publish)),
        Command::ReconnectStorm(measured) => report(measured.with(Scenario::ReconnectStorm)),
        Command::PresenceChurn(measured) => report(measured.with(Scenario::PresenceChurn)),
        Command::ClientEvents(measured) => report(measured.with(Scenario::ClientEvents)),
        Command::SlowConsumer(measured) => report(measured.with(Scenario::SlowConsumer)),
        Command::ConnectRamp(measured) => report(measured.with(Scenario::ConnectRamp)),
        Command::Soak(measured) => report(measured.with(Scenario::Soak)),
    }
}

/// Measures, and says what came of it.
fn report((scenario, options): (Scenario, Options)) -> anyhow::Result<bool> {
    descriptors::raise();
    descriptors::check(scenario.connections().into())?;
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
