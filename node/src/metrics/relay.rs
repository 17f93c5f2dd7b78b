//! What a relay shard counts while it delivers.

use std::collections::HashMap;

use metrics::{Counter, Histogram};
use proto::wire::Wire;
use proto::{AppId, Moment};

use crate::clock::Clock;

use super::Metrics;

/// The counters of one shard.
#[derive(Clone)]
pub struct RelayMetrics {
    metrics: Metrics,
    clock: Clock,
    fanout: Histogram,
    latency: Histogram,
    skipped: Counter,
    holes: Counter,
    gaps: Counter,
    apps: HashMap<AppId, AppCounters>,
}

/// What one delivery was to connections: how many events, and their bytes, by [`Wire::index`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent([(u64, u64); Wire::COUNT]);

impl Sent {
    /// Counts an event that was given to a connection.
    pub const fn add(&mut self, wire: Wire, bytes: usize) {
        let (events, total) = &mut self.0[wire.index()];
        *events += 1;
        *total += bytes as u64;
    }

    /// Events at all doors.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.iter().map(|(events, _)| events).sum()
    }
}

#[derive(Clone)]
struct AppCounters {
    /// Events and bytes, by [`Wire::index`].
    delivered: [(Counter, Counter); Wire::COUNT],
    lagging: Counter,
    shed: Counter,
}

impl std::fmt::Debug for RelayMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RelayMetrics")
    }
}

impl RelayMetrics {
    /// The counters of a shard.
    #[must_use]
    pub fn new(metrics: &Metrics, clock: Clock) -> Self {
        let latency = metrics.histogram("handbell_delivery_latency_seconds", &[("path", "local")]);
        Self {
            metrics: metrics.clone(),
            clock,
            fanout: metrics.histogram("handbell_fanout_size", &[]),
            latency,
            skipped: metrics.counter("handbell_deliveries_skipped_total", &[]),
            holes: metrics.counter("handbell_delivery_holes_total", &[]),
            gaps: metrics.counter("handbell_delivery_gaps_total", &[]),
            apps: HashMap::new(),
        }
    }

    /// A publication has been given to connections of this shard.
    #[allow(clippy::cast_precision_loss)]
    pub fn published(&mut self, app: &AppId, sent: &Sent, accepted: Moment) {
        self.fanout.record(sent.events() as f64);
        self.latency.record(self.clock.moment().since(accepted).as_secs_f64());
        for ((events, bytes), (delivered, sent_bytes)) in sent.0.iter().zip(&self.of(app).delivered)
        {
            if *events > 0 {
                delivered.increment(*events);
                sent_bytes.increment(*bytes);
            }
        }
    }

    /// Time.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A publication came again, or from an owner that has been succeeded.
    pub fn skipped(&self) {
        self.skipped.increment(1);
    }

    /// A publication came before one that is missing.
    pub fn hole(&self) {
        self.holes.increment(1);
    }

    /// Publications were lost, and the subscribers are told so.
    pub fn gap(&self) {
        self.gaps.increment(1);
    }

    /// A connection could not keep up.
    pub fn lagging(&mut self, app: &AppId) {
        self.of(app).lagging.increment(1);
    }

    /// So many events of low priority were not given to a connection that could not keep up.
    pub fn shed(&mut self, app: &AppId, events: usize) {
        if events > 0 {
            self.of(app).shed.increment(events as u64);
        }
    }

    fn of(&mut self, app: &AppId) -> &AppCounters {
        let metrics = &self.metrics;
        self.apps.entry(app.clone()).or_insert_with(|| {
            let id = app.as_str();
            let delivered = |wire: Wire| {
                let labels = [("app_id", id), ("transport", wire.label())];
                (
                    metrics.counter("handbell_messages_delivered_total", &labels),
                    metrics.counter("handbell_sent_bytes_total", &labels),
                )
            };
            let app = [("app_id", id)];
            let lagging = "handbell_slow_consumers_disconnected_total";
            AppCounters {
                delivered: Wire::ALL.map(delivered),
                lagging: metrics.counter(lagging, &app),
                shed: metrics.counter("handbell_events_shed_total", &app),
            }
        })
    }
}
