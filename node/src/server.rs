//! What every connection and request of this node works with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proto::pusher::Timing;

use crate::apps::Apps;
use crate::clock::Clock;
use crate::metrics::{HttpMetrics, Metrics};
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
    /// What is counted of requests.
    pub http_metrics: HttpMetrics,
    /// The number of the next event that this node takes in.
    pub events: AtomicU64,
    /// Whether the node is shutting down: no new connections, not ready.
    pub is_draining: AtomicBool,
}

impl Server {
    /// A new event's id: unique over all nodes and their restarts, and no secret.
    #[must_use]
    pub fn event_id(&self) -> u128 {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        u128::from(self.router.me().incarnation) << 64 | u128::from(number)
    }

    /// Whether the node is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}
