//! Until when this node may serve, where only a majority may (`partition_mode = "majority"`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::Moment;
use proto::cluster::quorum::Quorum;

/// The handle. Without a quorum there is no end.
#[derive(Clone, Debug)]
pub struct Lease {
    quorum: Option<Quorum>,
    /// In microseconds of the node's clock; 0 before the first.
    ends: Arc<AtomicU64>,
}

impl Lease {
    /// A lease that has to be renewed first, if there is a quorum.
    #[must_use]
    pub fn new(quorum: Option<Quorum>) -> Self {
        Self { quorum, ends: Arc::default() }
    }

    /// How many nodes there are, if only a majority may serve.
    #[must_use]
    pub const fn quorum(&self) -> Option<Quorum> {
        self.quorum
    }

    /// Takes in when other nodes are known to have heard this one.
    pub fn renew(&self, proofs: Vec<Moment>) {
        if let Some(ends) = self.quorum.and_then(|quorum| quorum.lease_ends(proofs)) {
            self.ends.store(ends.micros(), Ordering::Release);
        }
    }

    /// Whether nothing may be served at this moment.
    #[must_use]
    pub fn is_over(&self, now: Moment) -> bool {
        self.quorum.is_some() && self.ends.load(Ordering::Acquire) <= now.micros()
    }
}
