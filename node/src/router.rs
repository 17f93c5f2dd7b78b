//! The way to a channel: the view says which node owns it; the command goes into that node's table,
//! here or over the link, and the answer comes back.
//!
//! Every question has a deadline and can find that another node is the owner, or that the owner
//! cannot answer now, even on a single node. A command reaches the owner in the order of the calls,
//! as long as the owner stays the same.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use proto::budget::Doer;
use proto::channel::{Command, Part, Reply, Resync};
use proto::cluster::message::{Ack, Answer, Ask, Message};
use proto::cluster::slot::Slot;
use proto::cluster::view::View;
use proto::quota::{Grant, Usage};
use proto::{AppId, ChannelKey, Refusal, RelayId, SocketId};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::channels::{Channels, Replier, Request};
use crate::cluster::Peers;

mod everyone;

/// How long any question may take: nobody is left without an answer for five seconds.
pub const DEADLINE: Duration = Duration::from_millis(4_500);
/// The pause before a question is asked again of an owner that is not ready or not the owner. Each
/// further one is twice as long, up to [`RETRY_AFTER_MAX`].
const RETRY_AFTER: Duration = Duration::from_millis(10);
/// What somebody waits for is asked often.
const RETRY_AFTER_MAX: Duration = Duration::from_millis(50);
/// What nobody waits for is said again less often, and for longer.
const TELL_AFTER_MAX: Duration = Duration::from_secs(1);
const TELL_FOR: Duration = Duration::from_secs(30);

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No node could be found that owns the channel; nothing was done.
    #[error("no node serves the channel")]
    NotOwner,
    /// The owner did not answer before the deadline.
    #[error("the channel's owner did not answer in time")]
    Unavailable,
    /// It is not allowed.
    #[error("{0}")]
    Refused(Refusal),
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotOwner | RouteError::Unavailable => Self::Unavailable,
            RouteError::Refused(refusal) => refusal,
        }
    }
}

/// The handle of the router.
#[derive(Clone, Debug)]
pub struct Router(Arc<Routes>);

#[derive(Debug)]
struct Routes {
    me: RelayId,
    view: ArcSwapOption<View>,
    channels: Channels,
    peers: Peers,
}

/// A question on its way.
#[derive(Debug)]
pub struct Asked {
    answer: Option<oneshot::Receiver<Answer>>,
    deadline: Instant,
    /// The next pause, and the longest.
    pause: (Duration, Duration),
    again: Option<Box<Again>>,
}

/// What is needed to ask again.
#[derive(Debug)]
struct Again {
    router: Router,
    slot: Slot,
    ask: Ask,
    /// Whether it does no harm if it was carried out and is carried out again.
    is_repeatable: bool,
}

impl Router {
    /// A router that knows no view yet: everything is unavailable.
    #[must_use]
    pub fn new(me: RelayId, channels: Channels, peers: Peers) -> Self {
        let view = ArcSwapOption::empty();
        Self(Arc::new(Routes { me, view, channels, peers }))
    }

    /// Takes a new view over.
    pub fn set_view(&self, view: Option<Arc<View>>) {
        self.0.view.store(view);
    }

    /// The present view; none before the node is part of a cluster.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.0.view.load_full()
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

    /// The links to the other nodes.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    /// The owner of a slot in this node's view.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<RelayId> {
        self.0.view.load().as_ref().map(|view| view.owner(slot).clone())
    }

    /// Asks a channel. The command is on its way when this returns. It is asked again until the
    /// deadline while no node is ready to take it; when the answer is lost, only if repeating it
    /// does no harm: a publish without a key may have taken effect.
    #[must_use]
    pub fn ask(&self, key: ChannelKey, command: Command) -> Asked {
        self.ask_for(key, command, None)
    }

    /// As [`Router::ask`], with a level of acknowledgement that is met or refused.
    #[must_use]
    pub fn ask_for(&self, key: ChannelKey, command: Command, ack: Option<Ack>) -> Asked {
        let slot = Slot::of(&key);
        let is_repeatable = match &command {
            Command::Publish(draft) => draft.retry.is_some(),
            _ => true,
        };
        self.start(slot, Ask::Channel { key, command, ack }, is_repeatable)
    }

    fn start(&self, slot: Slot, ask: Ask, is_repeatable: bool) -> Asked {
        let answer = Some(self.send(slot, ask.clone()));
        let again = Box::new(Again { router: self.clone(), slot, ask, is_repeatable });
        let pause = (RETRY_AFTER, RETRY_AFTER_MAX);
        Asked { answer, deadline: Instant::now() + DEADLINE, pause, again: Some(again) }
    }

    fn send(&self, slot: Slot, ask: Ask) -> oneshot::Receiver<Answer> {
        let (replier, answer) = Replier::local();
        match &*self.0.view.load() {
            None => replier.answer(Answer::NotOwner),
            Some(view) if *view.owner(slot) == self.0.me => {
                self.0.channels.handle(Request { slot, ask, replier });
            }
            Some(_) if self.0.channels.is_stopped() => replier.answer(Answer::Unavailable),
            Some(view) => self.0.peers.ask(view.owner(slot), ask, replier),
        }
        answer
    }

    /// Says something to a channel that would be wrong if it came late: it is not repeated. If it is
    /// lost, what the relay says of itself at the next change of owner makes up for it.
    pub fn send_once(&self, key: ChannelKey, command: Command) {
        let slot = Slot::of(&key);
        // The answer says nothing that anybody waits for.
        drop(self.send(slot, Ask::Channel { key, command, ack: None }));
    }

    /// Tells a channel something, and nobody waits for the answer.
    pub fn tell(&self, key: ChannelKey, command: Command) {
        let channel = key.channel.clone();
        let mut asked = self.ask(key, command);
        asked.pause.1 = TELL_AFTER_MAX;
        asked.deadline = Instant::now() + TELL_FOR;
        tokio::spawn(async move {
            if let Err(error) = asked.answer().await {
                tracing::warn!(?channel, %error, "a channel could not be told of a change");
            }
        });
    }

    /// Tells a channel that a connection is gone. If that fails, the next resync says it.
    pub fn leave(&self, key: ChannelKey, socket: SocketId) {
        let relay = self.me().clone();
        self.tell(key, Command::Leave { relay, socket });
    }

    /// Says to a claimant of a slot what this node's relay has of a channel.
    pub fn resync(&self, to: &RelayId, key: ChannelKey, resync: Resync) {
        if *to == self.0.me {
            self.0.channels.resync(key, resync);
        } else {
            self.0.peers.send(to, &Message::Resync(key, resync));
        }
    }

    /// Says to a claimant that a part of this node's relay has spoken of all channels of slots.
    pub fn listed(&self, to: &RelayId, slots: &[Slot], part: Part) {
        if *to == self.0.me {
            self.0.channels.listed(slots, to, part);
        } else {
            self.0.peers.send(to, &Message::Listed(slots.to_vec(), part));
        }
    }

    /// Claims an idempotency key, at the owner of the key.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`], or that the owner cannot answer.
    pub async fn claim(&self, app: &AppId, key: &str, fingerprint: u64) -> Result<(), RouteError> {
        let slot = Slot::of_name(app, key);
        let ask = Ask::Claim { app: app.clone(), key: key.to_owned(), fingerprint };
        match self.start(slot, ask, true).outcome().await? {
            Answer::Claimed => Ok(()),
            _ => Err(RouteError::Unavailable),
        }
    }

    /// Asks the ledger of an app's quota.
    ///
    /// # Errors
    /// That the owner cannot answer.
    pub async fn lease(&self, app: &AppId, usage: Usage) -> Result<Grant, RouteError> {
        let slot = Channels::quota_slot(app);
        match self.start(slot, Ask::Lease(app.clone(), usage), true).outcome().await? {
            Answer::Granted(grant) => Ok(grant),
            _ => Err(RouteError::Unavailable),
        }
    }

    /// Asks for a part of somebody's budget: so many deeds; if none, when there will be one.
    ///
    /// # Errors
    /// That the owner cannot answer.
    pub async fn spend(&self, doer: &Doer, rate: u32) -> Result<(u32, Duration), RouteError> {
        let slot = Slot::of_name(&doer.app, doer.user.as_str());
        match self.start(slot, Ask::Spend(doer.clone(), rate), false).outcome().await? {
            Answer::Part(deeds, micros) => Ok((deeds, Duration::from_micros(micros))),
            _ => Err(RouteError::Unavailable),
        }
    }
}

impl Asked {
    /// A question that cannot be asked.
    #[must_use]
    pub fn unavailable() -> Self {
        let pause = (Duration::ZERO, Duration::ZERO);
        Self { answer: None, deadline: Instant::now(), pause, again: None }
    }

    /// The channel's answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn answer(self) -> Result<Reply, RouteError> {
        self.acknowledged().await.map(|(reply, _)| reply)
    }

    /// The channel's answer and the acknowledgement that was reached.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn acknowledged(self) -> Result<(Reply, Ack), RouteError> {
        match self.outcome().await? {
            Answer::Reply(reply, ack) => Ok((reply, ack)),
            _ => Err(RouteError::Unavailable),
        }
    }

    async fn outcome(mut self) -> Result<Answer, RouteError> {
        loop {
            let Some(waiting) = self.answer.take() else {
                return Err(RouteError::Unavailable);
            };
            let error = match timeout_at(self.deadline, waiting).await {
                Ok(Ok(Answer::Refused(refusal))) => return Err(RouteError::Refused(refusal)),
                Ok(Ok(Answer::NotOwner)) => RouteError::NotOwner,
                // The owner, its link or its mailbox is gone, or it is too slow.
                Ok(Ok(Answer::Unavailable) | Err(_)) | Err(_) => RouteError::Unavailable,
                Ok(Ok(answer)) => return Ok(answer),
            };
            let may_repeat = |again: &&Again| error == RouteError::NotOwner || again.is_repeatable;
            let Some(again) = self.again.as_deref().filter(may_repeat) else {
                return Err(error);
            };
            let (pause, pause_max) = self.pause;
            if Instant::now() + pause >= self.deadline {
                let slot = again.slot.index();
                tracing::warn!(slot, %error, "a question was given up");
                return Err(error);
            }
            sleep(pause).await;
            self.pause.0 = (pause * 2).min(pause_max);
            self.answer = Some(again.router.send(again.slot, again.ask.clone()));
        }
    }
}
