//! The events that wait for one webhook address.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::Ticket;

/// Events in one request at most.
const BATCH: usize = 100;

/// One event that waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// When it happened.
    pub(super) unix_ms: u64,
    /// Which one it is, however often it is told.
    pub(super) id: String,
    /// Held until every webhook has it, if the channel waits for that.
    pub(super) _ticket: Option<Arc<Ticket>>,
    /// Its final form.
    pub(super) event: Box<RawValue>,
}

/// A bounded queue with one reader.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<Pending>>,
    /// Taken and not yet delivered: how many, and when the oldest happened.
    in_flight: Mutex<Option<(usize, u64)>>,
    arrived: Notify,
}

impl Queue {
    /// Adds an event; false if `limit` events wait already.
    pub(super) fn push(&self, pending: Pending, limit: usize) -> bool {
        let mut waiting = self.lock();
        if waiting.len() >= limit {
            return false;
        }
        waiting.push_back(pending);
        self.arrived.notify_one();
        true
    }

    /// Waits until there is an event.
    pub(super) async fn arrived(&self) {
        while self.lock().is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Takes the oldest events. They count as pending until [`Queue::done`].
    pub(super) fn take(&self) -> Vec<Pending> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        let batch: Vec<Pending> = waiting.drain(..count).collect();
        *self.in_flight() = batch.first().map(|first| (count, first.unix_ms));
        batch
    }

    /// What was taken has been delivered or dropped.
    pub(super) fn done(&self) {
        *self.in_flight() = None;
    }

    /// How many events are not delivered, and when the oldest of them happened.
    pub(super) fn pending(&self) -> (usize, Option<u64>) {
        let waiting = self.lock();
        let first = waiting.front().map(|pending| pending.unix_ms);
        match *self.in_flight() {
            Some((count, oldest)) => (waiting.len() + count, Some(oldest)),
            None => (waiting.len(), first),
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, Option<(usize, u64)>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
