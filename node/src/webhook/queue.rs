//! The events that wait for one webhook address.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::Notify;

/// Events in one request at most.
const BATCH: usize = 100;

/// One event that waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// When it happened.
    pub(super) unix_ms: u64,
    /// Its final form.
    pub(super) event: Box<RawValue>,
}

/// A bounded queue with one reader.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<Pending>>,
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

    /// Takes the oldest events.
    pub(super) fn take(&self) -> Vec<Pending> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// How many events wait, and when the oldest happened.
    pub(super) fn pending(&self) -> (usize, Option<u64>) {
        let waiting = self.lock();
        (waiting.len(), waiting.front().map(|pending| pending.unix_ms))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
