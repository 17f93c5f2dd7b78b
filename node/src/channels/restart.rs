//! What happens when a channel actor panics: its slot is taken again, with what the successor and
//! the relays have of it, and the channel goes on under a later epoch; after too many panics it is
//! left alone for a while.

use std::collections::HashMap;
use std::time::Duration;

use proto::cluster::slot::Slot;
use proto::{ChannelKey, Moment};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::Channels;

/// Restarts of one channel within [`WINDOW`] before it is left alone.
const RESTARTS_MAX: usize = 5;
/// The time over which restarts are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a channel that failed too often answers that it is unavailable.
pub(super) const QUARANTINE: Duration = Duration::from_secs(30);

/// The actor that a part of the channels is linked to.
#[derive(Debug)]
pub struct ChannelSupervisor;

/// What a supervisor is sent.
#[derive(Debug)]
pub enum Message {
    /// The time of a channel in quarantine is over.
    Release(ChannelKey),
}

impl ractor::Message for Message {}

/// Recent restarts, by channel.
#[derive(Debug)]
pub struct State {
    channels: Channels,
    restarts: HashMap<ChannelKey, Vec<Moment>>,
}

impl Actor for ChannelSupervisor {
    type Msg = Message;
    type State = State;
    type Arguments = Channels;

    async fn pre_start(
        &self,
        _myself: ActorRef<Message>,
        channels: Channels,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { channels, restarts: HashMap::new() })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Message::Release(key) = message;
        state.channels.retake(Slot::of(&key));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let SupervisionEvent::ActorFailed(cell, error) = event else {
            return Ok(());
        };
        let Some(key) = state.channels.fail(cell.get_id()) else {
            return Ok(());
        };
        tracing::error!(app = %key.app, channel = ?key.channel, %error, "a channel failed");
        if state.may_restart(&key) {
            state.channels.retake(Slot::of(&key));
        } else {
            tracing::error!(app = %key.app, channel = ?key.channel, "it failed too often and is left alone for 30 s");
            myself.send_after(QUARANTINE, move || Message::Release(key));
        }
        Ok(())
    }
}

impl State {
    fn may_restart(&mut self, key: &ChannelKey) -> bool {
        let now = self.channels.clock().moment();
        self.restarts.retain(|_, times| {
            times.retain(|&time| now.since(time) < WINDOW);
            !times.is_empty()
        });
        let times = self.restarts.entry(key.clone()).or_default();
        times.push(now);
        times.len() <= RESTARTS_MAX
    }
}

impl Channels {
    /// Marks the channel of a failed actor as down, and says which it was.
    fn fail(&self, actor: ActorId) -> Option<ChannelKey> {
        let key = self.find(actor)?;
        let mut slot = self.slot(Slot::of(&key));
        slot.custody.failed(&key);
        self.0.parts.metrics.failed.increment(1);
        Some(key)
    }

    fn find(&self, actor: ActorId) -> Option<ChannelKey> {
        Slot::all().find_map(|slot| {
            let slot = self.slot(slot);
            let mut running = slot.custody.running();
            let found = running.find(|(_, mailbox)| mailbox.actor.get_id() == actor);
            found.map(|(key, _)| key.clone())
        })
    }
}
