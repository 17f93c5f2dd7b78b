//! The actor that takes the configuration over again: on SIGHUP, and when the file has changed. A
//! file that is wrong changes nothing and says why; no connection is dropped either way.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::apps::Apps;
use crate::channels::Channels;
use crate::clock::unix_ms;
use crate::config::{ConfigError, Source};
use crate::metrics::Metrics;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The actor.
#[derive(Debug)]
pub struct Reloader;

/// What it works with.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Where the configuration comes from.
    pub source: Source,
    /// Where apps go.
    pub apps: Apps,
    /// Whose channels are told.
    pub channels: Channels,
    /// Where the outcome is shown.
    pub metrics: Metrics,
}

/// What it is told.
#[derive(Debug)]
pub enum Message {
    /// Read everything again.
    Reload,
    /// See whether the file has changed.
    Look,
}

impl ractor::Message for Message {}

/// The file as it was read last.
#[derive(Debug)]
pub struct State {
    reload: Reload,
    seen: Option<Vec<u8>>,
}

impl Actor for Reloader {
    type Msg = Message;
    type State = State;
    type Arguments = Reload;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        reload: Reload,
    ) -> Result<State, ActorProcessingErr> {
        reload.metrics.config_reloaded(true, unix_ms());
        tokio::spawn(hear_hangups(signal(SignalKind::hangup())?, myself.clone()));
        let seen = content(reload.source.path.as_ref());
        if seen.is_some() {
            myself.send_interval(LOOK_EVERY, || Message::Look);
        }
        Ok(State { reload, seen })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let present = content(state.reload.source.path.as_ref());
        let is_due = matches!(message, Message::Reload) || present != state.seen;
        if is_due {
            state.seen = present;
            let outcome = state.reload.run();
            state.reload.metrics.config_reloaded(outcome.is_ok(), unix_ms());
            match outcome {
                Ok(count) => tracing::info!(apps = count, "the configuration was taken over"),
                Err(error) => tracing::error!(%error, "the configuration stays as it was"),
            }
        }
        Ok(())
    }
}

impl Reload {
    fn run(&self) -> Result<usize, ConfigError> {
        let apps = self.source.load()?.check()?;
        let count = apps.len();
        self.apps.replace(apps);
        for entry in self.apps.all() {
            self.channels.configure(&entry.app);
        }
        Ok(count)
    }
}

/// Until the actor is gone: its successor hears for itself.
async fn hear_hangups(mut hangups: Signal, reloader: ActorRef<Message>) {
    while hangups.recv().await.is_some() && reloader.cast(Message::Reload).is_ok() {}
}

fn content(path: Option<&PathBuf>) -> Option<Vec<u8>> {
    path.and_then(|path| fs::read(path).ok())
}
