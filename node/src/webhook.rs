//! Webhooks: what happens in channels is posted to the application, signed, in batches.
//!
//! Each address has a bounded queue and one worker, so the events of a channel arrive in their
//! order: what cannot be delivered yet holds up only its own address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use proto::http::webhook::{Edge, event_json};
use proto::{AppId, ChannelKey};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::apps::{AppEntry, Apps};
use crate::channels::Channels;
use crate::clock::unix_ms;

mod deliver;
mod queue;
mod worker;

use queue::{Pending, Queue};
use worker::Workers;

/// The handle of the dispatcher: happenings go in here.
#[derive(Clone, Debug)]
pub struct Webhooks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    apps: Apps,
    queues: Mutex<HashMap<Address, Arc<Queue>>>,
    dispatcher: Mutex<Option<ActorRef<Message>>>,
    channels: OnceLock<Channels>,
}

/// An edge that is on its way to every webhook that wants it. When the last has it, or has failed
/// for good, the channel forgets it.
#[derive(Debug)]
struct Ticket {
    webhooks: Webhooks,
    key: ChannelKey,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(channels) = self.webhooks.0.channels.get() {
            let (channels, key, number) = (channels.clone(), self.key.clone(), self.number);
            // It may be dropped where the channel's slot is locked.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { channels.told(&key, number) });
            }
        }
    }
}

/// Where a queue leads: one webhook address of one app.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    app: AppId,
    url: String,
}

impl Webhooks {
    /// Webhooks of these apps, which nobody delivers yet.
    #[must_use]
    pub fn new(apps: Apps) -> Self {
        let (queues, dispatcher) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { apps, queues, dispatcher, channels: OnceLock::new() }))
    }

    /// Gives the webhooks the channels that are told what was delivered. Once.
    pub fn connect(&self, channels: Channels) {
        if self.0.channels.set(channels).is_err() {
            tracing::error!("the webhooks have their channels already");
        }
    }

    /// Queues a happening for every webhook that wants it.
    pub fn push(&self, app: &AppId, edge: &Edge) {
        let Some(entry) = self.0.apps.by_id(app.as_str()) else {
            return;
        };
        let key = ChannelKey { app: app.clone(), channel: edge.channel.clone() };
        let number = edge.id.number;
        let ticket =
            edge.is_turn().then(|| Arc::new(Ticket { webhooks: self.clone(), key, number }));
        for webhook in entry.app.webhooks.iter().filter(|webhook| webhook.wants(edge)) {
            let address = Address { app: app.clone(), url: webhook.url.clone() };
            let pending = Pending {
                unix_ms: unix_ms(),
                id: edge.text_id(app),
                event: event_json(app, edge),
                _ticket: ticket.clone(),
            };
            let limit = entry.app.limits.webhook_events;
            if !self.queue(&address).push(pending, limit) {
                entry.metrics.webhook("dropped_full", 1);
                tracing::warn!(%app, url = %webhook.url, "a webhook event was dropped: its queue is full");
            }
        }
    }

    /// Events that wait, and how long the oldest has waited.
    #[must_use]
    pub fn pending(&self) -> (usize, Duration) {
        let now = unix_ms();
        let queues = lock(&self.0.queues);
        queues.values().fold((0, Duration::ZERO), |(depth, oldest), queue| {
            let (more, since) = queue.pending();
            let age = since.map_or(0, |since| now.saturating_sub(since));
            (depth + more, oldest.max(Duration::from_millis(age)))
        })
    }

    /// The queue of an address; the first event for it starts its worker.
    fn queue(&self, address: &Address) -> Arc<Queue> {
        let mut queues = lock(&self.0.queues);
        if let Some(queue) = queues.get(address) {
            return Arc::clone(queue);
        }
        let queue = Arc::new(Queue::default());
        queues.insert(address.clone(), Arc::clone(&queue));
        if let Some(dispatcher) = &*lock(&self.0.dispatcher) {
            // A dispatcher that is restarting finds the queue in the table.
            let _ = dispatcher.cast(Message::Serve(address.clone(), Arc::clone(&queue)));
        }
        queue
    }

    fn entry(&self, address: &Address) -> Option<Arc<AppEntry>> {
        self.0.apps.by_id(address.app.as_str())
    }

    /// Forgets an address that no webhook names any more.
    fn forget(&self, address: &Address) {
        lock(&self.0.queues).remove(address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The actor that keeps one worker for each address.
#[derive(Debug)]
pub(crate) struct Dispatcher;

/// What the dispatcher is sent.
#[derive(Debug)]
pub(crate) enum Message {
    /// A queue has its first event.
    Serve(Address, Arc<Queue>),
}

impl ractor::Message for Message {}

impl Actor for Dispatcher {
    type Msg = Message;
    type State = Workers;
    type Arguments = Webhooks;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        webhooks: Webhooks,
    ) -> Result<Workers, ActorProcessingErr> {
        *lock(&webhooks.0.dispatcher) = Some(myself.clone());
        for (address, queue) in lock(&webhooks.0.queues).iter() {
            myself.cast(Message::Serve(address.clone(), Arc::clone(queue)))?;
        }
        Ok(Workers::new(webhooks))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        Message::Serve(address, queue): Message,
        workers: &mut Workers,
    ) -> Result<(), ActorProcessingErr> {
        workers.serve(address, queue);
        Ok(())
    }
}
