//! `handbell serve` and `handbell config`, and how a node runs until it is stopped.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cluster::rebirth;
use crate::config::{LogFormat, LogSection};
use crate::listen::raise_descriptor_limit;
use crate::node::Node;

use super::ConfigArguments;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    source: ConfigArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether a configuration can be used, and what is wrong with it.
    Check {
        #[command(flatten)]
        source: ConfigArguments,
    },
    /// Print the whole configuration with every default; secrets as `***`.
    Print {
        #[command(flatten)]
        source: ConfigArguments,
    },
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let source = self.source.into_source();
        let config = source.load()?;
        start_log(&config.log)?;
        let descriptors = raise_descriptor_limit();
        let node = Node::start(config, source).await?;
        let cluster = node.server().cluster.as_ref().map(|cluster| cluster.engine.address());
        tracing::info!(
            clients = %node.clients(),
            admin = %node.admin(),
            cluster = cluster.map(tracing::field::display),
            apps = node.server().apps.all().len(),
            descriptors,
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        run_until_stopped(node).await
    }
}

impl ConfigCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (Self::Check { source } | Self::Print { source }) = &self;
        let config = source.clone().into_source().load()?;
        let apps = config.check()?;
        match self {
            Self::Check { .. } => println!("the configuration is good: {} app(s)", apps.len()),
            Self::Print { .. } => print!("{}", config.to_toml()?),
        }
        Ok(())
    }
}

/// Serves until SIGTERM, Ctrl-C or `handbell drain`, then drains; a second signal ends the process at
/// once.
pub(super) async fn run_until_stopped(mut node: Node) -> anyhow::Result<()> {
    let server = Arc::clone(node.server());
    tokio::select! {
        stopped = stop_signal() => stopped?,
        () = server.drain.notified() => {}
        () = node.failed() => anyhow::bail!("a part of the node failed too often; see the log"),
        () = server.fenced() => {
            node.send_away().await;
            let error = anyhow::Error::from(rebirth::begin_anew());
            return Err(error.context("this process could not begin anew"));
        }
    }
    tokio::select! {
        () = node.drain() => Ok(()),
        stopped = stop_signal() => {
            stopped?;
            anyhow::bail!("stopped before it was drained")
        }
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub(super) async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

pub(super) fn start_log(log: &LogSection) -> anyhow::Result<()> {
    // The actor library logs a span for every actor at `info`, the WebSocket library every frame,
    // auth strings included, at `trace`.
    let directives = format!("ractor=warn,{},tungstenite=info,tokio_tungstenite=info", log.level);
    let filter = EnvFilter::try_new(&directives).context("log.level")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
