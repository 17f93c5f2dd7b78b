//! Crowds: very many channels, each with a subscriber that does nothing, and what they cost the nodes
//! when one joins or when they are gone again. There is no judge here: a subscription that is refused
//! or a connection that is closed ends the run.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;

use super::cluster::{Cluster, Settings};
use super::observation::{Node, Status};
use super::plan::{self, clients};
use super::watch;
use crate::process;
use crate::report::table::align;

mod member;

use member::Member;

/// Channels of one connection.
const PER_CONNECTION: usize = 1_000;
/// How long nodes may take to agree, and channels to go.
const PATIENCE: Duration = Duration::from_secs(60);
/// Memory is shown in it.
const MIB: f64 = 1_048_576.0;
/// How long nodes are left alone before their memory is looked at: allocators give back late.
const QUIET: Duration = Duration::from_secs(3);
/// How long after the last round memory is looked at once more.
const LATE: Duration = Duration::from_secs(30);

/// What is done with a crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Crowd {
    /// It is at one node, and a second one joins.
    Join,
    /// It comes and goes, again and again, with other channels each time.
    Churn,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Channels.
    pub channels: usize,
    /// How often it comes and goes.
    pub rounds: u32,
}

/// Does it, and returns what is to be shown.
///
/// # Errors
/// If anything was refused, closed or not done in time.
pub(super) fn run(
    crowd: Crowd,
    size: Size,
    (folder, settings): (&Path, Settings),
) -> anyhow::Result<String> {
    let mut cluster = Cluster::new(folder, settings, size.nodes + 1)?;
    for node in 0..size.nodes {
        cluster.start(node)?;
    }
    agree(&cluster)?;
    sleep(QUIET);
    let rows = match crowd {
        Crowd::Join => join(&mut cluster, size)?,
        Crowd::Churn => churn(&cluster, size)?,
    };
    Ok(align(&rows))
}

fn join(cluster: &mut Cluster, size: Size) -> anyhow::Result<Vec<Vec<String>>> {
    let empty = memory(cluster, 0)?;
    let members = gather(size, 0)?;
    sleep(QUIET);
    let full = memory(cluster, 0)?;
    let began = Instant::now();
    cluster.start(1)?;
    let serving = agree(cluster)?.duration_since(began);
    let is_settled = || {
        let owned: Vec<u64> = [0, 1].iter().filter_map(|&node| owned(node)).collect();
        owned.iter().sum::<u64>() == size.channels as u64 && owned.len() == 2
    };
    let taken_over = wait(is_settled)?.duration_since(began);
    sleep(QUIET);
    let (newcomer, status) = (memory(cluster, 1)?, status(1).context("node-2 is silent")?);
    let still_open = members.iter().filter(|member| member.is_open()).count();
    ensure!(still_open == members.len(), "{still_open} of {} connections are open", members.len());
    let each = |bytes: f64, count: u64| format!("{:.0}", bytes * MIB / count.max(1) as f64);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    Ok(vec![
        row("channels at node-1", size.channels.to_string()),
        row("memory of node-1 before and with them, MiB", format!("{empty:.1} {full:.1}")),
        row("bytes for each", each(full - empty, size.channels as u64)),
        row("joined after, ms", serving.as_millis().to_string()),
        row("all channels have an owner after, ms", taken_over.as_millis().to_string()),
        row("channels that node-2 has taken over", status.channels_owned.to_string()),
        row("copies that it keeps", status.copies.to_string()),
        row("memory of node-2, MiB", format!("{newcomer:.1}")),
        row(
            "bytes beyond an empty node for each channel or copy",
            each(newcomer - empty, status.channels_owned + status.copies),
        ),
        row("memory of node-1 then, MiB", format!("{:.1}", memory(cluster, 0)?)),
    ])
}

fn churn(cluster: &Cluster, size: Size) -> anyhow::Result<Vec<Vec<String>>> {
    let nodes: Vec<Node> = cluster.running();
    let look = || -> anyhow::Result<Vec<f64>> {
        nodes.iter().map(|&node| memory(cluster, node)).collect()
    };
    let line = |name: String, memory: &[f64]| -> Vec<String> {
        let memory = memory.iter().map(|mib| format!("{mib:.1}"));
        [name].into_iter().chain(memory).collect()
    };
    let heading = nodes.iter().map(|&node| format!("{}, MiB", plan::id(node)));
    let mut rows = vec![[String::new()].into_iter().chain(heading).collect()];
    let empty: Vec<f64> = look()?;
    rows.push(line("empty".into(), &empty));
    let mut first = Vec::new();
    for round in 1..=size.rounds {
        let began = Instant::now();
        let members = gather(size, round)?;
        let took = began.elapsed();
        drop(members);
        let left = || nodes.iter().map(|&node| owned(node)).collect::<Vec<_>>();
        wait(|| left().iter().all(|&left| left == Some(0)))
            .with_context(|| format!("in round {round} the nodes kept {:?} channels", left()))?;
        sleep(QUIET);
        let after = look()?;
        rows.push(line(format!("round {round}, came in {took:.1?}"), &after));
        if first.is_empty() {
            first = after;
        }
    }
    sleep(LATE);
    let last = look()?;
    rows.push(line(format!("{LATE:?} later"), &last));
    let copies = nodes.iter().map(|&node| status(node).map_or(0, |status| status.copies));
    let copies = copies.map(|copies| copies.to_string());
    rows.push(["copies left".to_owned()].into_iter().chain(copies).collect());
    let ratio = |from: &[f64]| -> Vec<String> {
        last.iter().zip(from).map(|(last, from)| format!("{:.2}", last / from)).collect()
    };
    for (name, from) in [("last / first", &first), ("last / empty", &empty)] {
        rows.push([name.to_owned()].into_iter().chain(ratio(from)).collect());
    }
    Ok(rows)
}

/// Memory of a node, in MiB.
#[allow(clippy::cast_precision_loss)]
fn memory(cluster: &Cluster, node: Node) -> anyhow::Result<f64> {
    let pid = cluster.pid(node).context("a node ended")?;
    Ok(process::memory(pid)?.pss as f64 / MIB)
}

/// Lets everyone in: all at the first node, or shared out over all.
fn gather(size: Size, round: u32) -> anyhow::Result<Vec<Member>> {
    let names: Vec<String> =
        (0..size.channels).map(|number| format!("crowd-{round}-{number}")).collect();
    let members = names.chunks(PER_CONNECTION).enumerate();
    members.map(|(number, names)| Member::join(clients(number % size.nodes), names)).collect()
}

fn status(node: Node) -> Option<std::sync::Arc<Status>> {
    watch::look(node).status
}

/// Channels that a node owns, as it says.
fn owned(node: Node) -> Option<u64> {
    status(node).map(|status| status.channels_owned)
}

/// When all nodes that run were ready and saw each other.
fn agree(cluster: &Cluster) -> anyhow::Result<Instant> {
    let nodes = cluster.running();
    wait(|| {
        nodes.iter().all(|&node| {
            let look = watch::look(node);
            let sees = look.status.map_or(0, |status| status.view.members.len());
            look.is_ready == Some(true) && sees == nodes.len()
        })
    })
}

/// When something became true.
fn wait(mut is_true: impl FnMut() -> bool) -> anyhow::Result<Instant> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if is_true() {
            return Ok(Instant::now());
        }
        sleep(watch::EVERY);
    }
    anyhow::bail!("the nodes do not come to rest within {PATIENCE:?}")
}
