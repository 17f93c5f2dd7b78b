//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use proto::app::Secret;

use crate::config::Source;

mod app;
mod client;
mod cluster;
mod dev;
mod health;
mod notify;
mod publish;
mod serve;
mod snippets;
mod subscribe;
mod token;

/// Handbell: a self-hosted realtime broker that speaks Pusher Channels.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node for trying things out: no configuration, one app, loopback only.
    Dev(dev::Dev),
    /// Run a node.
    Serve(serve::Serve),
    /// Look at a configuration without running it.
    #[command(subcommand)]
    Config(serve::ConfigCommand),
    /// Publish one event through the HTTP API.
    Publish(publish::Publish),
    /// Notify a user, the subscribers of a channel or everyone through the HTTP API.
    Notify(notify::Notify),
    /// Subscribe to channels and print what arrives, one JSON object a line.
    Subscribe(subscribe::Subscribe),
    /// Print a token for trying things out, signed with an app's secret.
    Token(token::Token),
    /// Make an app.
    #[command(subcommand)]
    App(app::AppCommand),
    /// Look at a cluster.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Make a node give its channels and connections away and stop, as SIGTERM does.
    Drain(cluster::Drain),
    /// Ask a node whether it is ready. Exit code 0 if it is.
    Health(health::Health),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// What went wrong, for a person.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Dev(dev) => dev.run().await,
            Command::Serve(serve) => serve.run().await,
            Command::Config(config) => config.run(),
            Command::Publish(publish) => publish.run().await,
            Command::Notify(notify) => notify.run().await,
            Command::Subscribe(subscribe) => subscribe.run().await,
            Command::Token(token) => token.run(),
            Command::App(app) => app.run(),
            Command::Cluster(cluster) => cluster.run().await,
            Command::Drain(drain) => drain.run().await,
            Command::Health(health) => health.run().await,
        }
    }
}

/// Which server and app a client command talks to. The defaults are those of `handbell dev`.
#[derive(Debug, Args)]
struct Target {
    /// Address of the server.
    #[arg(long, env = "HANDBELL_URL", default_value = "http://127.0.0.1:6001")]
    url: String,
    /// The app's id.
    #[arg(long, env = "PUSHER_APP_ID", default_value = "app-id")]
    app_id: String,
    /// The app's key.
    #[arg(long, env = "PUSHER_APP_KEY", default_value = "app-key")]
    key: String,
    /// The app's secret.
    #[arg(long, env = "PUSHER_APP_SECRET", default_value = "app-secret", hide_env_values = true)]
    secret: String,
}

impl Target {
    fn secret(&self) -> Secret {
        Secret::new(&self.secret)
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Args)]
struct ConfigArguments {
    /// The TOML file. Without it: defaults, environment and flags.
    #[arg(long, short, env = "HANDBELL_CONFIG")]
    config: Option<PathBuf>,
    /// Set one key, for example `--set server.listen=0.0.0.0:6001`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    sets: Vec<(String, String)>,
}

impl ConfigArguments {
    fn into_source(self) -> Source {
        Source::new(self.config, self.sets)
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
