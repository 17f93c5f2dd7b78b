//! What a scene counts of connections that come.

use hdrhistogram::Histogram;

use crate::tally::histogram;
use crate::timeline::Timeline;

/// How connections came.
#[derive(Debug)]
pub struct Arrivals {
    /// From when they were to be begun until they were subscribed, in ns.
    pub latency: Histogram<u64>,
    /// The same over time.
    pub timeline: Timeline,
    /// How many have come, each as often as it did.
    pub came: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Why the first of them failed.
    pub reason: Option<String>,
}

impl Arrivals {
    pub(super) fn new() -> Self {
        let (latency, timeline) = (histogram(), Timeline::default());
        Self { latency, timeline, came: 0, failed: 0, reason: None }
    }

    /// Begins the counts anew.
    pub fn forget(&mut self, now_ns: u64) {
        *self = Self::new();
        self.timeline.restart(now_ns);
    }
}
