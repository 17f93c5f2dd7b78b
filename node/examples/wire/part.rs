//! What both parts have in common: a node of a cluster of two, and the orders that they get.

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use handbell::config::{ClusterSection, Period, Source};
use handbell::{Config, Node};
use proto::app::Secret;
use proto::cluster::view::Phase;
use proto::{AppId, ChannelKey, ChannelName};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::{Order, owner, receiver};

/// The app of `Config::dev`.
pub(super) const APP: &str = "app-id";
/// How long the nodes may take to find each other.
const JOINED_MAX: Duration = Duration::from_secs(20);

/// Which part a process is, and where everything is.
#[derive(Args, Debug)]
#[group(requires_all = ["role", "me", "other", "stream"])]
pub(super) struct Part {
    #[arg(long, hide = true, required = false)]
    role: Role,
    #[arg(long, hide = true, required = false)]
    me: SocketAddr,
    #[arg(long, hide = true, required = false)]
    other: SocketAddr,
    #[arg(long, hide = true, required = false)]
    stream: SocketAddr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Owner,
    Receiver,
}

impl Part {
    /// Serves until the first process goes away.
    pub(super) fn run(&self, channels: usize) -> anyhow::Result<()> {
        let runtime = Runtime::new()?;
        match self.role {
            Role::Owner => runtime.block_on(owner::run(self, self.stream, channels)),
            Role::Receiver => runtime.block_on(receiver::run(self, self.stream)),
        }
    }

    /// A node that has found the other one.
    pub(super) async fn join(&self) -> anyhow::Result<Node> {
        let name = match self.role {
            Role::Owner => "owner",
            Role::Receiver => "receiver",
        };
        let mut config = Config::dev(0, 0);
        config.log.level = "error".into();
        config.cluster = Some(ClusterSection {
            node_id: Some(name.into()),
            listen: self.me,
            seeds: vec![self.other.to_string(), self.me.to_string()],
            secret: Secret::new("a secret of an example on loopback"),
            bootstrap_after: Period(Duration::from_secs(1)),
            ..ClusterSection::default()
        });
        let node = Node::start(config, Source::default()).await?;
        let until = Instant::now() + JOINED_MAX;
        while !has_settled(&node) {
            anyhow::ensure!(Instant::now() < until, "the nodes did not find each other");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(node)
    }
}

/// Whether both nodes serve and this one has its share: before that channels change hands.
fn has_settled(node: &Node) -> bool {
    let router = &node.server().router;
    router.view().is_some_and(|view| {
        let members = view.members();
        members.len() == 2
            && members.iter().all(|member| member.phase == Phase::Serving)
            && usize::from(router.channels().slots_served()) == view.share(&router.me().node)
    })
}

/// A channel of the app.
pub(super) fn key(channel: &str) -> anyhow::Result<ChannelKey> {
    Ok(ChannelKey { app: AppId::parse(APP)?, channel: ChannelName::parse(channel)? })
}

/// The next order; none when the first process is gone.
pub(super) fn next() -> anyhow::Result<Option<Order>> {
    let mut line = String::new();
    let bytes = std::io::stdin().lock().read_line(&mut line)?;
    (bytes > 0).then(|| serde_json::from_str(&line).context("an order")).transpose()
}

/// Answers one.
pub(super) fn answer(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}
