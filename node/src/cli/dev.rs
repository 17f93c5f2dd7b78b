//! `handbell dev`: a node, or several of them as real processes, for trying things out.

use std::process::Stdio;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use proto::app::Secret;
use tokio::process::{Child, Command};

use crate::config::{ClusterSection, Config, Preset, Source};
use crate::node::Node;
use crate::random;

use super::serve::{run_until_stopped, start_log, stop_signal};
use super::snippets;

/// The ports of one node and those of the next differ by so much.
const PORT_STEP: u16 = 10;
/// The cluster port of the first node, on 127.0.0.1.
const CLUSTER_PORT: u16 = 6002;
/// What the nodes of one `dev` know and nobody else.
const SECRET: &str = "HANDBELL_DEV_SECRET";

#[derive(Debug, Args)]
pub(super) struct Dev {
    /// Port for clients and the HTTP API, on 127.0.0.1. Further nodes have 10, 20 … more.
    #[arg(long, default_value_t = 6001)]
    port: u16,
    /// Port for metrics and health, on 127.0.0.1. Further nodes have 10, 20 … more.
    #[arg(long, default_value_t = 9601)]
    admin_port: u16,
    /// Nodes to run: each is a process of its own, and together they are a cluster.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Have channels of a usual kind only: topics are `public:`, `private:`, `user:` or `system:` and a
    /// word.
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// Log what happens to every connection.
    #[arg(long, short)]
    verbose: bool,
    /// Which of several nodes this process is.
    #[arg(long, hide = true)]
    node: Option<u16>,
}

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.node {
            None if self.nodes > 1 => self.run_nodes().await,
            _ => self.run_one().await,
        }
    }

    async fn run_one(self) -> anyhow::Result<()> {
        let number = self.node.unwrap_or(0);
        let step = number * PORT_STEP;
        let mut config = Config::dev(self.port + step, self.admin_port + step);
        config.log.level = if self.verbose { "debug,hyper=info" } else { "warn" }.into();
        config.apps[0].preset = self.preset;
        if self.node.is_some() {
            config.cluster = Some(self.cluster(number)?);
        }
        start_log(&config.log)?;
        let app = config.apps[0].clone();
        let node = Node::start(config, Source::default()).await.context(
            "the node did not start (another one may be running: try --port and --admin-port)",
        )?;
        if self.node.is_none() {
            print!("{}", snippets::dev(node.clients(), node.admin(), &app));
        }
        run_until_stopped(node).await
    }

    fn cluster(&self, number: u16) -> anyhow::Result<ClusterSection> {
        let address = |number: u16| {
            format!("127.0.0.1:{}", CLUSTER_PORT + self.port - 6001 + number * PORT_STEP)
        };
        let secret = std::env::var(SECRET).context("the nodes of `dev` are started by it")?;
        Ok(ClusterSection {
            node_id: Some(format!("node-{}", number + 1)),
            listen: address(number).parse()?,
            seeds: (0..self.nodes).map(address).collect(),
            secret: Secret::new(secret),
            bootstrap_after: crate::config::Period(std::time::Duration::from_secs(1)),
            ..ClusterSection::default()
        })
    }

    /// Starts a process for each node and stops them all together.
    async fn run_nodes(self) -> anyhow::Result<()> {
        let secret = format!("{:032x}", random::bits());
        let mut nodes: Vec<Child> = Vec::new();
        for number in 0..self.nodes {
            nodes.push(self.start_node(number, &secret)?);
        }
        let config = Config::dev(self.port, self.admin_port);
        let others: Vec<String> = (0..self.nodes)
            .map(|number| format!("http://127.0.0.1:{}", self.port + number * PORT_STEP))
            .collect();
        print!("{}", snippets::dev(config.server.listen, config.admin.listen, &config.apps[0]));
        println!("\n{} nodes, one cluster: {}", self.nodes, others.join("  "));
        println!("  handbell cluster status --url http://127.0.0.1:{}", self.admin_port);
        stop_signal().await?;
        for node in &nodes {
            if let Some(pid) = node.id().and_then(|id| i32::try_from(id).ok())
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                // One that has ended already needs no signal.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        for node in &mut nodes {
            node.wait().await?;
        }
        Ok(())
    }

    fn start_node(&self, number: u16, secret: &str) -> anyhow::Result<Child> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.arg("dev").args(["--node", &number.to_string()]);
        command.args(["--nodes", &self.nodes.to_string(), "--port", &self.port.to_string()]);
        command.args(["--admin-port", &self.admin_port.to_string()]);
        if self.verbose {
            command.arg("--verbose");
        }
        if let Some(preset) = self.preset.and_then(|preset| preset.to_possible_value()) {
            command.args(["--preset", preset.get_name()]);
        }
        // The terminal's Ctrl-C is for this process, which passes it on in its own way.
        command.env(SECRET, secret).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        command.spawn().context("a node could not be started")
    }
}
