//! What is counted of an app's connections, by the door that they came through.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use proto::AppId;
use proto::wire::Wire;

use super::Metrics;

/// The counters of one door.
#[derive(Clone)]
pub struct DoorMetrics {
    metrics: Metrics,
    app: String,
    transport: &'static str,
    opened: Counter,
    lasted: Histogram,
    /// Bytes of messages from clients.
    pub received_bytes: Counter,
    /// Connections that have begun and not ended.
    open: Gauge,
}

impl DoorMetrics {
    /// The counters of an app's door. The same one always gets the same counters.
    pub(super) fn new(metrics: &Metrics, app: &AppId, wire: Wire) -> Self {
        let (app, transport) = (app.as_str(), wire.label());
        let labels = [("app_id", app), ("transport", transport)];
        Self {
            opened: metrics.counter("handbell_connections_opened_total", &labels),
            lasted: metrics.histogram("handbell_connection_duration_seconds", &labels),
            received_bytes: metrics.counter("handbell_received_bytes_total", &labels),
            open: metrics.gauge("handbell_connections", &labels),
            app: app.to_owned(),
            transport,
            metrics: metrics.clone(),
        }
    }

    /// A connection begins.
    pub fn begin(&self) {
        self.opened.increment(1);
        self.open.increment(1.0);
    }

    /// A connection that had begun has ended.
    pub fn end(&self, reason: &'static str, lasted: Duration) {
        self.open.decrement(1.0);
        self.lasted.record(lasted.as_secs_f64());
        let app = self.app.as_str();
        let labels = [("app_id", app), ("transport", self.transport), ("reason", reason)];
        self.metrics.counter("handbell_connections_closed_total", &labels).increment(1);
    }
}
