//! What a publish costs between two nodes: two real nodes in two processes, one of which owns the
//! channels and the other has their subscribers; and beside them, in the same run, a bare TCP stream
//! of the same bytes between the same processes.
//!
//! This process starts itself twice, as `owner` and as `receiver`, and tells them what to do by lines
//! of JSON. Everything is on loopback, bounded in time, and stops by itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod owner;
mod part;
mod receiver;
mod stream;
mod table;
mod usage;

use table::Row;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Bytes of an event's data, and of a frame of the stream.
const EVENT_BYTES: usize = 200;

/// Measures what a publish costs on its owner and on another node that has the subscribers.
#[derive(Debug, Parser)]
struct Cli {
    /// How long each load lasts.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often everything is measured, in turn; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Events a second of the load that is offered.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    rate: u64,
    /// Channels, each with one subscriber.
    #[arg(long, default_value_t = 1_000)]
    channels: usize,
    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "stream,sequenced,replicated")]
    what: Vec<What>,
    /// How it is loaded.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "offered,saturated")]
    pace: Vec<Pace>,
    #[command(flatten)]
    part: Option<part::Part>,
}

/// What carries the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
enum What {
    /// A TCP connection.
    Stream,
    /// Publishes that are answered when the owner has given them their place.
    Sequenced,
    /// Publishes that are answered when the other node has a copy.
    Replicated,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
enum Pace {
    /// So many events a second, every millisecond's together.
    Offered,
    /// As many as go.
    Saturated,
}

/// A load.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Load {
    what: What,
    /// Events a second; none for as many as go.
    rate: Option<u64>,
    seconds: u64,
}

/// What the parts are told.
#[derive(Debug, Deserialize, Serialize)]
enum Order {
    /// To the receiver: subscribe to these channels.
    Join(Vec<String>),
    /// To the receiver: count from here.
    Begin,
    /// To the owner: publish.
    Run(Load),
    /// To the receiver: what came?
    End,
}

/// What the owner did.
#[derive(Debug, Deserialize, Serialize)]
struct Sent {
    events: u64,
    failed: u64,
    seconds: f64,
    cpu_micros: f64,
}

/// What the receiver got.
#[derive(Debug, Deserialize, Serialize)]
struct Received {
    events: u64,
    cpu_micros: f64,
    p50_micros: u32,
    p99_micros: u32,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match &cli.part {
        Some(part) => part.run(cli.channels),
        None => measure(&cli),
    }
}

fn measure(cli: &Cli) -> anyhow::Result<()> {
    let [owner, receiver, stream] = free_addresses()?;
    let mut receiver_at = Process::start("receiver", [receiver, owner, stream], cli)?;
    let mut owner_at = Process::start("owner", [owner, receiver, stream], cli)?;
    let channels: Vec<String> = owner_at.read()?;
    receiver_at.say(&Order::Join(channels))?;
    let joined: usize = receiver_at.read()?;
    println!("{joined} channels, events of {EVENT_BYTES} bytes, {} s each", cli.seconds);
    let mut rows: Vec<Row> = Vec::new();
    for round in 1..=cli.rounds {
        for &pace in &cli.pace {
            for &what in &cli.what {
                let rate = (pace == Pace::Offered).then_some(cli.rate);
                let load = Load { what, rate, seconds: cli.seconds };
                receiver_at.say(&Order::Begin)?;
                receiver_at.read::<()>()?;
                owner_at.say(&Order::Run(load))?;
                let sent: Sent = owner_at.read()?;
                receiver_at.say(&Order::End)?;
                let received: Received = receiver_at.read()?;
                let row = Row::new((what, pace), &sent, &received);
                println!("round {round}: {row}");
                rows.push(row);
            }
        }
    }
    println!("\nmedians of {} rounds\n{}", cli.rounds, table::medians(&rows));
    Ok(())
}

/// Addresses that were free a moment ago, all at once. Nobody else's are on this process's own
/// address of the loopback network.
fn free_addresses() -> anyhow::Result<[SocketAddr; 3]> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let bind = || TcpListener::bind((Ipv4Addr::new(127, 77, high, low), 0));
    let listeners = [bind()?, bind()?, bind()?];
    let [one, other, third] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([one?, other?, third?])
}

/// One of the two.
struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(role: &str, [me, other, stream]: [SocketAddr; 3], cli: &Cli) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", role, "--me", &me.to_string(), "--other", &other.to_string()]);
        command.args(["--stream", &stream.to_string(), "--channels", &cli.channels.to_string()]);
        // Variables such as HANDBELL__… would configure the node.
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("a part cannot be started")?;
        let orders = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, orders, answers })
    }

    fn say(&mut self, order: &Order) -> anyhow::Result<()> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        Ok(())
    }

    fn read<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("a part said `{}`", line.trim()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
