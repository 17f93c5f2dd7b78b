//! The channels that this node owns, by slot: finding a channel's actor, starting it when it is
//! first needed, letting it go when nothing is retained, and starting it anew after a panic.
//!
//! A command is put into the mailbox while the slot is locked, and an actor leaves the table only
//! if it has taken everything that was put there: so no command can be lost between the two.

use std::collections::{HashMap, hash_map};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use proto::channel::{Command, History, Published, Reply, Settings, Summary};
use proto::cluster::slot::{SLOTS, Slot};
use proto::idempotency::{Idempotency, ItemKey};
use proto::quota::{Demand, Quota};
use proto::{App, AppId, ChannelKey, Epoch, Refusal, RelayId};
use ractor::{ActorCell, ActorId, ActorRef, ActorRuntime};
use tokio::sync::oneshot;

use crate::apps::Apps;
use crate::channel::{ChannelActor, Message, Start, Vitals};
use crate::clock::Clock;
use crate::metrics::ChannelMetrics;
use crate::relay::Relay;
use crate::webhook::Webhooks;

mod restart;
pub use restart::ChannelSupervisor;

/// The name under which an app's quota has its slot.
const QUOTA: &str = "#quota";

/// The handle of the table.
#[derive(Clone, Debug)]
pub struct Channels(Arc<Table>);

#[derive(Debug)]
struct Table {
    slots: Box<[Mutex<SlotState>]>,
    parts: Parts,
    supervisors: OnceLock<Vec<ActorCell>>,
}

/// What channel actors work with.
#[derive(Debug)]
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// This node's relay.
    pub relay: Arc<Relay>,
    /// Where happenings go.
    pub webhooks: Webhooks,
    /// The apps' present configuration.
    pub apps: Apps,
    /// How much history channels keep.
    pub history: History,
    /// Counters.
    pub metrics: ChannelMetrics,
}

#[derive(Debug, Default)]
struct SlotState {
    channels: HashMap<ChannelKey, Entry>,
    idempotency: Idempotency,
    quotas: HashMap<AppId, Quota>,
}

#[derive(Debug)]
struct Entry {
    epoch: Epoch,
    vitals: Arc<Vitals>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Running {
        actor: ActorRef<Message>,
        sent: u64,
    },
    /// The actor failed: the relays are being asked who is there, or it failed too often.
    Down,
}

impl Entry {
    /// Puts a command into the actor's mailbox.
    fn send(&mut self, command: Command, item: Option<ItemKey>) -> Result<Sent, Refusal> {
        let Phase::Running { actor, sent } = &mut self.phase else {
            return Err(Refusal::Unavailable);
        };
        let (reply, answer) = oneshot::channel();
        let message = Message::Command { command, item, reply: Some(reply) };
        actor.cast(message).map_err(|_| Refusal::Unavailable)?;
        *sent += 1;
        Ok(Sent::Waiting(answer))
    }
}

/// A channel as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub key: ChannelKey,
    /// Connections subscribed.
    pub subscribers: usize,
    /// Distinct members.
    pub members: usize,
}

/// What a command becomes when it is given to the table.
#[derive(Debug)]
pub enum Sent {
    /// The channel's actor has it and will answer.
    Waiting(oneshot::Receiver<Reply>),
    /// The channel is not alive, and that is the answer.
    Answered(Reply),
}

impl Channels {
    /// An empty table.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Self(Arc::new(Table { slots, parts, supervisors: OnceLock::new() }))
    }

    /// Gives a command to a channel, in the order of the calls. A channel is started by the first
    /// join, or by the first event that it has to remember.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] while the channel restarts, or the app's limit of channels.
    pub fn send(
        &self,
        key: &ChannelKey,
        command: Command,
        item: Option<ItemKey>,
    ) -> Result<Sent, Refusal> {
        let starts = match &command {
            Command::Join { .. } => true,
            Command::Publish(_) => key.channel.kind().cache,
            _ => false,
        };
        let mut slot = self.slot(Slot::of(key));
        if let Some(entry) = slot.channels.get_mut(key) {
            return entry.send(command, item);
        }
        if !starts {
            return Ok(Sent::Answered(self.answer_for_none(&mut slot, &command, item)));
        }
        // The quota may live in the same slot: its lock is never taken inside this one.
        drop(slot);
        let entry = self.0.parts.apps.by_id(key.app.as_str()).ok_or(Refusal::Unavailable)?;
        self.admit(&entry.app, Demand::Channel)?;
        slot = self.slot(Slot::of(key));
        match slot.channels.entry(key.clone()) {
            // Someone else was faster: this one's booking goes back, without the slot's lock.
            hash_map::Entry::Occupied(mut started) => {
                let sent = started.get_mut().send(command, item);
                drop(slot);
                self.release(&key.app, Demand::Channel);
                sent
            }
            hash_map::Entry::Vacant(place) => {
                self.0.parts.metrics.started.increment(1);
                let epoch = self.next_epoch(None);
                place.insert(self.start(key, epoch, Vec::new())).send(command, item)
            }
        }
    }

    /// What is true of a channel that is not alive: nobody is there and nothing is remembered.
    fn answer_for_none(
        &self,
        slot: &mut SlotState,
        command: &Command,
        item: Option<ItemKey>,
    ) -> Reply {
        match command {
            Command::Publish(_) => {
                let now = self.clock().moment();
                let Some(item) = item else {
                    return Reply::Published(Published::default());
                };
                let earlier = slot.idempotency.answer(&item, now);
                let published = earlier.unwrap_or_else(|| {
                    slot.idempotency.remember(item, Published::default(), now);
                    Published::default()
                });
                Reply::Published(published)
            }
            Command::Inspect => Reply::Channel(Summary::default()),
            Command::Members => Reply::Members(Vec::new()),
            _ => Reply::Done,
        }
    }

    fn start(&self, key: &ChannelKey, epoch: Epoch, resync: Vec<Command>) -> Entry {
        let vitals = Arc::new(Vitals::default());
        let start = Start {
            key: key.clone(),
            epoch,
            settings: self.settings(&key.app),
            vitals: Arc::clone(&vitals),
            resync,
            channels: self.clone(),
        };
        let supervisors = self.0.supervisors.get().expect("the node starts its supervisors first");
        let supervisor = supervisors[Slot::of(key).index() % supervisors.len()].clone();
        let spawned = ActorRuntime::spawn_linked_instant(None, ChannelActor, start, supervisor);
        let phase = match spawned {
            Ok((actor, _)) => Phase::Running { actor, sent: 0 },
            Err(error) => {
                tracing::error!(channel = ?key.channel, %error, "a channel could not be started");
                Phase::Down
            }
        };
        Entry { epoch, vitals, phase }
    }

    fn settings(&self, app: &AppId) -> Settings {
        let history = self.0.parts.history;
        match self.0.parts.apps.by_id(app.as_str()) {
            Some(entry) => Settings::of(&entry.app, history),
            // The app was removed while one of its clients was subscribing.
            None => Settings {
                history,
                presence_members: 0,
                cache_for: std::time::Duration::ZERO,
                subscription_count: false,
            },
        }
    }

    fn next_epoch(&self, last: Option<Epoch>) -> Epoch {
        let incarnation = self.0.parts.relay.id().incarnation;
        Epoch::after(last, self.clock().now().unix_ms, incarnation)
    }

    /// Takes an actor that retains nothing out of the table, if it has handled all it was sent.
    pub fn retire(&self, key: &ChannelKey, handled: u64) -> bool {
        let mut slot = self.slot(Slot::of(key));
        let phase = slot.channels.get(key).map(|entry| &entry.phase);
        let is_done = matches!(phase, Some(Phase::Running { sent, .. }) if *sent == handled);
        if is_done {
            slot.channels.remove(key);
            drop(slot);
            self.release(&key.app, Demand::Channel);
        }
        is_done
    }

    /// The earlier answer of a keyed publish.
    #[must_use]
    pub fn remembered(&self, item: &ItemKey) -> Option<Published> {
        let mut slot = self.slot(Slot::of(&item.channel));
        slot.idempotency.answer(item, self.clock().moment())
    }

    /// Keeps the answer of a keyed publish.
    pub fn remember(&self, item: ItemKey, published: Published) {
        let mut slot = self.slot(Slot::of(&item.channel));
        slot.idempotency.remember(item, published, self.clock().moment());
    }

    /// Claims an idempotency key for a request.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`].
    pub fn claim(&self, app: &AppId, key: &str, fingerprint: u64) -> Result<(), Refusal> {
        let mut slot = self.slot(Slot::of_name(app, key));
        slot.idempotency.claim(app, key, fingerprint, self.clock().moment())
    }

    /// Books a demand on an app's quota.
    ///
    /// # Errors
    /// The limit that it would break.
    pub fn admit(&self, app: &App, demand: Demand) -> Result<(), Refusal> {
        let mut slot = self.slot(Slot::of_name(&app.id, QUOTA));
        let now = self.clock().moment();
        match slot.quotas.get_mut(&app.id) {
            Some(quota) => quota.admit(demand, &app.limits, now),
            None => slot.quotas.entry(app.id.clone()).or_default().admit(demand, &app.limits, now),
        }
    }

    /// Takes a demand off an app's quota again.
    pub fn release(&self, app: &AppId, demand: Demand) {
        let mut slot = self.slot(Slot::of_name(app, QUOTA));
        if let Some(quota) = slot.quotas.get_mut(app) {
            quota.release(demand);
        }
    }

    /// An app's open connections.
    #[must_use]
    pub fn connections(&self, app: &AppId) -> u32 {
        let slot = self.slot(Slot::of_name(app, QUOTA));
        slot.quotas.get(app).map_or(0, Quota::connections)
    }

    /// The live channels that `is_wanted` wants, in no order.
    pub fn list(&self, is_wanted: impl Fn(&ChannelKey) -> bool) -> Vec<Listed> {
        let mut listed = Vec::new();
        for slot in Slot::all() {
            let slot = self.slot(slot);
            let wanted = slot.channels.iter().filter(|(key, _)| is_wanted(key));
            listed.extend(wanted.map(|(key, entry)| Listed {
                key: key.clone(),
                subscribers: entry.vitals.subscribers.load(Ordering::Relaxed),
                members: entry.vitals.members.load(Ordering::Relaxed),
            }));
        }
        listed
    }

    /// Tells every live channel of an app its present settings.
    pub fn configure(&self, app: &App) {
        let settings = Settings::of(app, self.0.parts.history);
        for slot in Slot::all() {
            for (key, entry) in &mut self.slot(slot).channels {
                if let Phase::Running { actor, sent } = &mut entry.phase
                    && key.app == app.id
                {
                    let command = Command::Configure(settings.clone());
                    let message = Message::Command { command, item: None, reply: None };
                    *sent += u64::from(actor.cast(message).is_ok());
                }
            }
        }
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    /// The way to a relay.
    ///
    /// # Panics
    /// If it is another node's: a single node knows no other.
    #[must_use]
    pub fn relay(&self, id: &RelayId) -> &Relay {
        assert_eq!(id, self.0.parts.relay.id(), "a single node has one relay");
        &self.0.parts.relay
    }

    /// Where happenings go.
    #[must_use]
    pub fn webhooks(&self) -> &Webhooks {
        &self.0.parts.webhooks
    }

    /// Gives the table the actors that its channels are linked to. Once, before the first channel.
    pub fn supervise(&self, supervisors: Vec<ActorCell>) {
        if self.0.supervisors.set(supervisors).is_err() {
            tracing::error!("the channels have their supervisors already");
        }
    }

    fn find(&self, actor: ActorId) -> Option<ChannelKey> {
        let is_it = |entry: &Entry| matches!(&entry.phase, Phase::Running { actor: a, .. } if a.get_id() == actor);
        Slot::all().find_map(|slot| {
            let slot = self.slot(slot);
            slot.channels.iter().find(|(_, entry)| is_it(entry)).map(|(key, _)| key.clone())
        })
    }

    fn slot(&self, slot: Slot) -> MutexGuard<'_, SlotState> {
        self.0.slots[slot.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
