//! The network between the nodes: a namespace of its own, in which every node's packets come from the
//! node's address, and rules that lose packets or reset connections between two addresses.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use super::cluster::FIRST_USER;
use super::observation::Node;
use super::plan::address;

/// Says that this process is inside already.
const INSIDE: &str = "HANDBELL_CHAOS_INSIDE";

/// Goes on in a network namespace of its own: this program is run again inside it, in place of this
/// one.
///
/// # Errors
/// If there may be no such namespace.
pub(super) fn enter() -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    ensure!(is_root, "chaos needs root: it makes a network namespace and drops packets in it");
    let mut command = Command::new("unshare");
    command.arg("--net").arg("--").arg(std::env::current_exe()?);
    let error = command.args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    Err(error).context("unshare (util-linux) cannot be run")
}

/// Brings the loopback up. A node that dials another one without saying from where gets its own
/// address, because its user has a route of its own; else its packets would come from 127.0.0.1 and
/// no rule could tell them from another node's.
///
/// # Errors
/// If `ip` or `nft` is not there or refuses.
pub(super) fn prepare(nodes: usize) -> anyhow::Result<()> {
    run("ip", "link set lo up")?;
    run("ip", "rule add pref 100 lookup local")?;
    run("ip", "rule del pref 0")?;
    for (node, user) in (0..nodes).zip(FIRST_USER..) {
        let (address, table) = (address(node), user);
        run("ip", &format!("route add local 127.0.0.0/8 dev lo src {address} table {table}"))?;
        run("ip", &format!("rule add pref 10 uidrange {user}-{user} lookup {table}"))?;
    }
    run("nft", "add table ip chaos")?;
    run("nft", "add chain ip chaos in { type filter hook input priority 0 ; }")?;
    Ok(())
}

/// Loses everything that one node sends to another.
///
/// # Errors
/// If nft refuses.
pub(super) fn lose(from: Node, to: Node) -> anyhow::Result<()> {
    rule(from, to, "counter drop")
}

/// Resets every connection between two nodes on which anything is sent.
///
/// # Errors
/// If nft refuses.
pub(super) fn reset(one: Node, other: Node) -> anyhow::Result<()> {
    // The resets themselves must arrive.
    let reject = "tcp flags & rst == 0 counter reject with tcp reset";
    rule(one, other, reject)?;
    rule(other, one, reject)
}

/// Takes all rules away, and returns how many packets met one.
///
/// # Errors
/// If nft refuses.
pub(super) fn heal() -> anyhow::Result<u64> {
    let listing = run("nft", "list chain ip chaos in")?;
    run("nft", "flush chain ip chaos in")?;
    Ok(packets(&listing))
}

fn rule(from: Node, to: Node, what: &str) -> anyhow::Result<()> {
    let (from, to) = (address(from), address(to));
    let rule = format!("add rule ip chaos in ip saddr {from} ip daddr {to} {what}");
    run("nft", &rule).map(drop)
}

fn packets(listing: &str) -> u64 {
    let words: Vec<&str> = listing.split_whitespace().collect();
    let counts = words.windows(2).filter(|pair| pair[0] == "packets");
    counts.filter_map(|pair| pair[1].parse::<u64>().ok()).sum()
}

fn run(program: &str, arguments: &str) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments.split(' ')).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{program} cannot be run"))?;
    if !output.status.success() {
        bail!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_all_rules_are_counted() {
        let listing = "ip daddr 127.0.0.12 counter packets 3 bytes 9 drop\n\
                       ip daddr 127.0.0.13 counter packets 4 bytes 9 drop";
        assert_eq!(packets(listing), 7);
        assert_eq!(packets(""), 0);
    }
}
