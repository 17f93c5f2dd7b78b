//! What every connection and request of this node works with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto::pusher::Timing;

use crate::apps::Apps;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::router::Router;

/// The parts of a running node that its doors share.
#[derive(Debug)]
pub struct Server {
    /// Time.
    pub clock: Clock,
    /// The apps.
    pub apps: Apps,
    /// The way to channels.
    pub router: Router,
    /// This node's subscribers.
    pub relay: Arc<Relay>,
    /// How long clients may be silent.
    pub timing: Timing,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the node is shutting down: no new connections, not ready.
    pub is_draining: AtomicBool,
}

impl Server {
    /// Whether the node is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}
