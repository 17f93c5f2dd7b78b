//! The slots of this node: which it serves, the channels in them, and what it keeps for others.
//! Finding a channel's actor, starting it when it is first needed, letting it go when nothing is
//! retained, and starting it anew after a panic.
//!
//! A command is put into the mailbox while the slot is locked, and an actor leaves the table only
//! if it has taken everything that was put there: so no command can be lost between the two.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use proto::channel::{Channel, Command, History, Published, Settings};
use proto::cluster::custody::{Admission, Change, Dispatch};
use proto::cluster::message::{Ack, Answer, Ask};
use proto::cluster::slot::Slot;
use proto::idempotency::ItemKey;
use proto::quota::{Demand, Usage};
use proto::{App, AppId, ChannelKey, RelayId};
use ractor::{ActorCell, ActorRuntime};

use crate::apps::Apps;
use crate::channel::{ChannelActor, Start, Vitals};
use crate::clock::Clock;
use crate::cluster::{Lease, Peers, Pulse};
use crate::metrics::ChannelMetrics;
use crate::quotas::Quotas;
use crate::relay::Relay;
use crate::webhook::Webhooks;

mod effects;
mod handover;
mod look;
mod of_node;
mod request;
mod restart;
mod slot;

pub use effects::Batch;
use handover::Moves;
pub use request::{Replier, Request, Waiter};
pub use restart::ChannelSupervisor;
use slot::{Mailbox, SlotState};

/// The machine of a slot, as this node runs it.
type Custody = proto::cluster::custody::Custody<Mailbox, Request, Waiter>;

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
    /// Whether any slot waits for time to pass.
    needs_tick: AtomicBool,
    moves: Moves,
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
    /// Until when this node may serve.
    pub lease: Lease,
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
        let new = |slot| {
            let custody = Custody::new(slot, me.clone(), parts.lease.quorum());
            Mutex::new(SlotState { custody, ledgers: HashMap::new() })
        };
        Self(Arc::new(Table {
            slots: Slot::all().map(new).collect(),
            parts,
            supervisors: OnceLock::new(),
            is_replicating: AtomicBool::new(false),
            needs_tick: AtomicBool::new(false),
            moves: Moves::default(),
        }))
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
        let Some(request) = self.answer_of_node(request) else {
            return;
        };
        let (mut slot, mut batch) = (self.slot(request.slot), Batch::default());
        match slot.custody.admit(request) {
            Admission::Now(request) => self.dispatch(&mut slot, request, &mut batch),
            Admission::Held => {}
            Admission::NotOwner(request) => request.replier.answer(Answer::NotOwner),
            Admission::Full(request) => request.replier.answer(Answer::Unavailable),
        }
        drop(slot);
        self.finish(batch);
    }

    fn dispatch(&self, slot: &mut SlotState, request: Request, batch: &mut Batch) {
        let Request { slot: number, ask, replier } = request;
        let mut effects = Vec::new();
        match slot.custody.dispatch(ask, self.clock().now(), &mut effects) {
            Dispatch::Channel(mailbox, command, ack) => mailbox.send(command, ack, Some(replier)),
            Dispatch::Begin(key, command, ack) => {
                let ask = Ask::Channel { key, command, ack };
                self.begin(slot, Request { slot: number, ask, replier });
            }
            Dispatch::Ledger(app, usage) => replier.answer(self.grant(slot, app, usage)),
            Dispatch::Answered(answer) => replier.answer(answer),
        }
        self.carry_out((slot, number), effects, batch);
    }

    /// Starts a channel with its first command, if the app may have one more.
    fn begin(&self, slot: &mut SlotState, request: Request) {
        let Ask::Channel { key, .. } = &request.ask else {
            return;
        };
        if !self.0.parts.quotas.take(&key.app, Demand::Channel) {
            return self.book(key.app.clone(), request);
        }
        self.0.parts.metrics.started.increment(1);
        let Request { ask: Ask::Channel { key, command, ack }, replier, .. } = request else {
            return;
        };
        let epoch = slot.custody.next_epoch(None, self.clock().now());
        let machine = Channel::new(key.channel.clone(), epoch, self.settings(&key.app));
        self.spawn(slot, key.clone(), machine, Vec::new());
        match slot.custody.channel(&key) {
            Some(mailbox) => mailbox.send(command, ack, Some(replier)),
            None => replier.answer(Answer::Unavailable),
        }
    }

    /// Has room for one more channel booked, and then deals with the request again.
    fn book(&self, app: AppId, request: Request) {
        let channels = self.clone();
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

    fn grant(&self, slot: &mut SlotState, app: AppId, usage: Usage) -> Answer {
        match self.0.parts.apps.by_id(app.as_str()) {
            Some(entry) => {
                let ledger = slot.ledgers.entry(app).or_default();
                Answer::Granted(ledger.lease(usage, &entry.app.limits, self.clock().moment()))
            }
            None => Answer::Unavailable,
        }
    }

    /// Starts the actor of a channel.
    fn spawn(&self, slot: &mut SlotState, key: ChannelKey, machine: Channel, first: Vec<Command>) {
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
        let supervisor = supervisors[Slot::of(&key).index() % supervisors.len()].clone();
        match ActorRuntime::spawn_linked_instant(None, ChannelActor, start, supervisor) {
            Ok((actor, _)) => {
                slot.custody.started(key, epoch, Mailbox { actor, sent: 0, vitals });
            }
            Err(error) => {
                tracing::error!(channel = ?key.channel, %error, "a channel could not be started");
                slot.custody.failed(&key);
            }
        }
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

    /// A channel has changed: its successor is told. `waiters` are finished when it has the change.
    pub fn changed(&self, change: Change<'_>, waiters: Vec<Waiter>) {
        self.with_one(Slot::of(change.key), |custody, _, effects| {
            custody.changed(change, waiters, effects);
        });
    }

    /// Takes an actor that retains nothing out of the table, if it has handled all it was sent.
    pub fn retire(&self, key: &ChannelKey, handled: u64) -> bool {
        let is_done = self.with_one(Slot::of(key), |custody, now, effects| {
            let is_done = custody.channel(key).is_some_and(|mailbox| mailbox.sent == handled);
            if is_done {
                custody.ended(key, now, effects);
            }
            is_done
        });
        if is_done {
            self.0.parts.quotas.release(&key.app, Demand::Channel);
        }
        is_done
    }

    /// The earlier answer of a keyed publish.
    #[must_use]
    pub fn remembered(&self, item: &ItemKey) -> Option<Published> {
        let mut slot = self.slot(Slot::of(&item.channel));
        slot.custody.remembered(item, self.clock().moment())
    }

    /// Keeps the answer of a keyed publish that an earlier owner sequenced.
    pub fn remember(&self, item: ItemKey, published: Published) {
        self.with_one(Slot::of(&item.channel), |custody, now, effects| {
            custody.remember(item, published, now, effects);
        });
    }

    /// Tells every live channel of an app its present settings.
    pub fn configure(&self, app: &App) {
        let settings = Settings::of(app, self.0.parts.history);
        self.with_all(|custody, _, effects| {
            let is_told = |key: &ChannelKey| key.app == app.id;
            custody.tell_each(is_told, &Command::Configure(settings.clone()), effects);
        });
    }

    /// The application has been told of a channel's edge of this number.
    pub fn told(&self, key: &ChannelKey, number: u64) {
        let mut slot = self.slot(Slot::of(key));
        if let Some(mailbox) = slot.custody.channel(key) {
            mailbox.send(Command::Told { number }, None, None);
        }
    }

    /// When a publish is answered that asked for nothing.
    #[must_use]
    pub fn default_ack(&self) -> Ack {
        self.0.parts.ack
    }

    /// Whether this process was stopped for so long that the others have gone on without it.
    #[must_use]
    pub fn was_paused(&self) -> bool {
        self.0.parts.pulse.is_late(self.clock().moment())
    }

    /// Whether nothing may be served: the process was stopped, or only a majority may serve and this
    /// node has lost it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.was_paused() || self.0.parts.lease.is_over(self.clock().moment())
    }

    /// Until when this node may serve.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.0.parts.lease
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
