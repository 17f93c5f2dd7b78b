//! The slots of this node: which it serves, the channels in them, and what it keeps for others.
//! Finding a channel's actor, starting it when it is first needed, letting it go when nothing is
//! retained, and starting it anew after a panic.
//!
//! A command is put into the mailbox while the slot is locked, and an actor leaves the table only
//! if it has taken everything that was put there: so no command can be lost between the two.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use proto::channel::{Channel, Command, History, Published, Reply, Settings, Summary};
use proto::cluster::message::{Ack, Answer, Ask};
use proto::cluster::ownership::Ownership;
use proto::cluster::replication::Record;
use proto::cluster::slot::Slot;
use proto::idempotency::ItemKey;
use proto::quota::Demand;
use proto::{App, AppId, ChannelKey, Epoch, RelayId};
use ractor::{ActorCell, ActorRuntime};

use crate::apps::Apps;
use crate::channel::{ChannelActor, Start, Vitals};
use crate::clock::Clock;
use crate::cluster::{Peers, Pulse};
use crate::metrics::ChannelMetrics;
use crate::quotas::Quotas;
use crate::relay::Relay;
use crate::webhook::Webhooks;

mod custody;
mod handover;
mod look;
mod replicas;
mod request;
mod restart;
mod slot;

pub use replicas::Change;
pub use request::{Replier, Request, Waiter};
pub use restart::ChannelSupervisor;
use slot::{Entry, Phase, SlotState};

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
    /// Whether there is a node that could hold copies.
    is_replicating: AtomicBool,
    custody: custody::Custody,
}

/// What channel actors work with.
#[derive(Debug)]
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// This node's relay.
    pub relay: Arc<Relay>,
    /// The other nodes.
    pub peers: Peers,
    /// Whether this process was stopped for a while.
    pub pulse: Pulse,
    /// What apps may use.
    pub quotas: Quotas,
    /// Where happenings go.
    pub webhooks: Webhooks,
    /// The apps' present configuration.
    pub apps: Apps,
    /// How much history channels keep.
    pub history: History,
    /// When a publish is answered that asked for nothing.
    pub ack: Ack,
    /// Counters.
    pub metrics: ChannelMetrics,
}

impl Channels {
    /// A table that serves nothing until it is given a view.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let me = parts.relay.id();
        let new = |slot| Mutex::new(SlotState::new(Ownership::new(slot, me.clone())));
        let slots = Slot::all().map(new).collect();
        let is_replicating = AtomicBool::new(false);
        let custody = custody::Custody::default();
        let supervisors = OnceLock::new();
        Self(Arc::new(Table { slots, parts, supervisors, is_replicating, custody }))
    }

    /// The slot of an app's quota.
    #[must_use]
    pub fn quota_slot(app: &AppId) -> Slot {
        Slot::of_name(app, QUOTA)
    }

    /// Deals with a question, in the order of the calls. The answer comes through its replier.
    pub fn handle(&self, request: Request) {
        // A process that was stopped believes in an old view.
        if self.is_stopped() {
            return request.replier.answer(Answer::Unavailable);
        }
        let mut slot = self.slot(request.slot);
        self.handle_in(&mut slot, request);
    }

    fn handle_in(&self, slot: &mut SlotState, request: Request) {
        let Some(Request { slot: number, ask, replier }) = slot.admit(request) else {
            return;
        };
        match ask {
            Ask::Channel { key, command, item, ack } => match slot.channels.get_mut(&key) {
                Some(entry) => entry.send(command, item, ack, Some(replier)),
                None => {
                    let ask = Ask::Channel { key, command, item, ack };
                    self.first(slot, Request { slot: number, ask, replier });
                }
            },
            Ask::Claim { app, key, fingerprint } => {
                let now = self.clock().now();
                match slot.idempotency.claim(&app, &key, fingerprint, now.moment) {
                    Ok(()) => {
                        let record = Record::Claimed(app, key, fingerprint);
                        self.send_record(slot, number, now, record);
                        replier.answer(Answer::Claimed);
                    }
                    Err(refusal) => replier.answer(Answer::Refused(refusal)),
                }
            }
            Ask::Lease(app, usage) => match self.0.parts.apps.by_id(app.as_str()) {
                Some(entry) => {
                    let ledger = slot.ledgers.entry(app).or_default();
                    let now = self.clock().moment();
                    replier.answer(Answer::Granted(ledger.lease(usage, &entry.app.limits, now)));
                }
                None => replier.answer(Answer::Unavailable),
            },
            Ask::List(query) => replier.answer(self.list(&query)),
        }
    }

    /// A command to a channel that is not alive. It is started by the first join, or by the first
    /// event that it has to remember.
    fn first(&self, slot: &mut SlotState, request: Request) {
        let Request { slot: number, ask: Ask::Channel { key, command, item, ack }, replier } =
            request
        else {
            return;
        };
        let starts = match &command {
            Command::Join { .. } => true,
            Command::Publish(_) => key.channel.kind().cache,
            _ => false,
        };
        if !starts {
            let reply = self.answer_for_none((slot, number), &command, item);
            return replier.reply(reply, self.best_ack(slot));
        }
        if !self.0.parts.quotas.take(&key.app, Demand::Channel) {
            let ask = Ask::Channel { key, command, item, ack };
            return self.book(Request { slot: number, ask, replier });
        }
        self.0.parts.metrics.started.increment(1);
        let machine =
            Channel::new(key.channel.clone(), self.next_epoch(None), self.settings(&key.app));
        let mut entry = self.start(&key, machine, Vec::new());
        entry.send(command, item, ack, Some(replier));
        slot.channels.insert(key, entry);
    }

    /// Has room for one more channel booked, and then deals with the request again.
    fn book(&self, request: Request) {
        let Ask::Channel { key, .. } = &request.ask else {
            return;
        };
        let (channels, app) = (self.clone(), key.app.clone());
        tokio::spawn(async move {
            let quotas = &channels.0.parts.quotas;
            match quotas.admit(&app, Demand::Channel).await {
                Ok(()) => {
                    quotas.release(&app, Demand::Channel);
                    channels.handle(request);
                }
                Err(error) => request.replier.answer(Answer::Refused(error.into())),
            }
        });
    }

    /// What a publish reaches that nobody has to wait for.
    fn best_ack(&self, slot: &SlotState) -> Ack {
        match slot.replication.successor() {
            Some(_) => Ack::Replicated,
            None => Ack::Sequenced,
        }
    }

    /// What is true of a channel that is not alive: nobody is there and nothing is remembered.
    fn answer_for_none(
        &self,
        (slot, number): (&mut SlotState, Slot),
        command: &Command,
        item: Option<ItemKey>,
    ) -> Reply {
        match command {
            Command::Publish(_) => {
                let now = self.clock().now();
                let Some(item) = item else {
                    return Reply::Published(Published::default());
                };
                if let Some(earlier) = slot.idempotency.answer(&item, now.moment) {
                    return Reply::Published(earlier);
                }
                let published = Published::default();
                slot.idempotency.remember(item.clone(), published.clone(), now.moment);
                let record = Record::Answered(item, published.clone());
                self.send_record(slot, number, now, record);
                Reply::Published(published)
            }
            Command::Inspect => Reply::Channel(Summary::default()),
            Command::Members => Reply::Members(Vec::new()),
            _ => Reply::Done,
        }
    }

    fn start(&self, key: &ChannelKey, machine: Channel, first: Vec<Command>) -> Entry {
        let vitals = Arc::new(Vitals::default());
        vitals.show(&machine);
        let epoch = machine.position().epoch;
        let start = Start {
            key: key.clone(),
            machine: Box::new(machine),
            vitals: Arc::clone(&vitals),
            first,
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
        Entry { epoch, vitals, phase, seeded: 0 }
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
                webhooks: false,
            },
        }
    }

    fn next_epoch(&self, last: Option<Epoch>) -> Epoch {
        Epoch::after(last, self.clock().now().unix_ms, self.me().incarnation)
    }

    /// Takes an actor that retains nothing out of the table, if it has handled all it was sent.
    pub fn retire(&self, key: &ChannelKey, handled: u64) -> bool {
        let number = Slot::of(key);
        let mut slot = self.slot(number);
        let phase = slot.channels.get(key).map(|entry| &entry.phase);
        let is_done = matches!(phase, Some(Phase::Running { sent, .. }) if *sent == handled);
        if is_done {
            slot.channels.remove(key);
            let now = self.clock().now();
            self.send_record(&mut slot, number, now, Record::Ended(key.clone()));
            self.complete(&mut slot, number);
            drop(slot);
            self.0.parts.quotas.release(&key.app, Demand::Channel);
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
    pub fn remember(&self, item: ItemKey, published: &Published) {
        let number = Slot::of(&item.channel);
        let (mut slot, now) = (self.slot(number), self.clock().now());
        slot.idempotency.remember(item.clone(), published.clone(), now.moment);
        self.send_record(&mut slot, number, now, Record::Answered(item, published.clone()));
    }

    /// Tells every live channel of an app its present settings.
    pub fn configure(&self, app: &App) {
        let settings = Settings::of(app, self.0.parts.history);
        for slot in Slot::all() {
            for (key, entry) in &mut self.slot(slot).channels {
                if key.app == app.id {
                    entry.send(Command::Configure(settings.clone()), None, None, None);
                }
            }
        }
    }

    /// The application has been told of a channel's edge of this number.
    pub fn told(&self, key: &ChannelKey, number: u64) {
        let mut slot = self.slot(Slot::of(key));
        if let Some(entry) = slot.channels.get_mut(key) {
            entry.send(Command::Told { number }, None, None, None);
        }
    }

    /// When a publish is answered that asked for nothing.
    #[must_use]
    pub fn default_ack(&self) -> Ack {
        self.0.parts.ack
    }

    /// Whether this process was stopped for so long that the others have gone on without it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.parts.pulse.is_late(self.clock().moment())
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> &RelayId {
        self.0.parts.relay.id()
    }

    /// This node's relay.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        &self.0.parts.relay
    }

    /// The other nodes.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.0.parts.peers
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

    fn slot(&self, slot: Slot) -> MutexGuard<'_, SlotState> {
        self.0.slots[slot.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any node could hold copies: without one nobody has to record anything.
    #[must_use]
    pub fn is_replicating(&self) -> bool {
        self.0.is_replicating.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
