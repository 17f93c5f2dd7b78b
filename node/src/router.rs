//! The way to a channel: the ring says which node owns it, and that node's table has its actor.
//!
//! Every question has a deadline and can find that another node is the owner, or that the owner
//! cannot answer now, even on a single node. A command reaches the owner in the order of the calls.

use std::sync::Arc;
use std::time::Duration;

use proto::channel::{Command, Reply};
use proto::cluster::ring::Ring;
use proto::cluster::slot::Slot;
use proto::idempotency::ItemKey;
use proto::name::NodeId;
use proto::quota::Demand;
use proto::{App, AppId, ChannelKey, Refusal, RelayId, SocketId};
use tokio::time::{Instant, sleep, timeout_at};

use crate::channels::{Channels, Sent};

/// How long any question may take.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// The pause before a command that can be repeated is given to a restarting owner again.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Another node owns the channel in this node's view.
    #[error("the channel is owned by node {0}")]
    NotOwner(NodeId),
    /// The owner did not answer before the deadline.
    #[error("the channel's owner did not answer in time")]
    Unavailable,
    /// The app's quota does not allow it.
    #[error("{0}")]
    Refused(Refusal),
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotOwner(_) | RouteError::Unavailable => Self::Unavailable,
            RouteError::Refused(refusal) => refusal,
        }
    }
}

/// The handle of the router.
#[derive(Clone, Debug)]
pub struct Router(Arc<Routes>);

#[derive(Debug)]
struct Routes {
    ring: Ring,
    me: RelayId,
    channels: Channels,
}

impl Router {
    /// A router for a node that is alone on its ring.
    #[must_use]
    pub fn alone(me: RelayId, channels: Channels) -> Self {
        let ring = Ring::new(vec![me.node.clone()]);
        Self(Arc::new(Routes { ring, me, channels }))
    }

    /// This node's relay, for commands that name it.
    #[must_use]
    pub fn me(&self) -> &RelayId {
        &self.0.me
    }

    /// The channels that this node owns.
    #[must_use]
    pub fn channels(&self) -> &Channels {
        &self.0.channels
    }

    /// Asks a channel. The command is on its way when this returns; the future is the answer.
    /// Joining and leaving are repeated until the deadline while the owner restarts; a publish is
    /// not, because it may have taken effect.
    pub fn ask(
        &self,
        key: ChannelKey,
        command: Command,
        item: Option<ItemKey>,
    ) -> impl Future<Output = Result<Reply, RouteError>> + Send + use<> {
        let router = self.clone();
        let deadline = Instant::now() + DEADLINE;
        let repeatable = (!matches!(command, Command::Publish(_))).then(|| command.clone());
        let mut sent = router.send(&key, command, item);
        async move {
            loop {
                let outcome = answer(sent, deadline).await;
                let Some(command) = &repeatable else {
                    return outcome;
                };
                let is_over = Instant::now() + RETRY_AFTER >= deadline;
                if outcome != Err(RouteError::Unavailable) || is_over {
                    return outcome;
                }
                sleep(RETRY_AFTER).await;
                sent = router.send(&key, command.clone(), None);
            }
        }
    }

    /// Tells a channel that a connection is gone, however long that takes within the deadline.
    pub fn leave(&self, key: ChannelKey, socket: SocketId) {
        let command = Command::Leave { relay: self.me().clone(), socket };
        let channel = key.channel.clone();
        let answer = self.ask(key, command, None);
        tokio::spawn(async move {
            if let Err(error) = answer.await {
                tracing::warn!(?channel, %socket, %error, "a channel was not told that a connection left");
            }
        });
    }

    /// Claims an idempotency key, at the owner of the key.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`], or that the owner cannot answer.
    pub fn claim(&self, app: &AppId, key: &str, fingerprint: u64) -> Result<(), RouteError> {
        self.check_owner(Slot::of_name(app, key))?;
        self.0.channels.claim(app, key, fingerprint).map_err(RouteError::Refused)
    }

    /// Books a demand on an app's quota.
    ///
    /// # Errors
    /// The limit that it would break, or that the owner cannot answer.
    pub fn admit(&self, app: &App, demand: Demand) -> Result<(), RouteError> {
        self.0.channels.admit(app, demand).map_err(RouteError::Refused)
    }

    /// Takes a demand off an app's quota again.
    pub fn release(&self, app: &AppId, demand: Demand) {
        self.0.channels.release(app, demand);
    }

    fn send(
        &self,
        key: &ChannelKey,
        command: Command,
        item: Option<ItemKey>,
    ) -> Result<Sent, RouteError> {
        self.check_owner(Slot::of(key))?;
        self.0.channels.send(key, command, item).map_err(|refusal| match refusal {
            Refusal::Unavailable => RouteError::Unavailable,
            refusal => RouteError::Refused(refusal),
        })
    }

    fn check_owner(&self, slot: Slot) -> Result<(), RouteError> {
        let owner = self.0.ring.owner(slot);
        if *owner == self.0.me.node {
            return Ok(());
        }
        Err(RouteError::NotOwner(owner.clone()))
    }
}

async fn answer(sent: Result<Sent, RouteError>, deadline: Instant) -> Result<Reply, RouteError> {
    match sent? {
        Sent::Answered(reply) => Ok(reply),
        Sent::Waiting(answer) => match timeout_at(deadline, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            // The actor is gone with its mailbox, or too slow.
            Ok(Err(_)) | Err(_) => Err(RouteError::Unavailable),
        },
    }
}
