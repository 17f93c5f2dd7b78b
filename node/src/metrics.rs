//! Every metric, named in one place. Handles are kept where they are counted, so that the delivery
//! path never looks one up; gauges of channels and queues are read from the real tables when they are
//! asked for.
//!
//! Labels are bounded: configured apps, wire transports, closed sets of words. Never a channel, a
//! user, a socket or an address.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, Unit, with_local_recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use proto::AppId;
use proto::wire::Wire;

mod cluster;
mod describe;
mod door;
mod http;
mod process;
mod relay;
mod scrape;

pub use door::DoorMetrics;
pub use http::{HttpMetrics, Route};
pub use relay::{RelayMetrics, Sent};
pub use scrape::Scrape;

const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0,
];
const LIFETIMES: &[f64] = &[1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 86_400.0];
const SIZES: &[f64] = &[1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10_000.0, 100_000.0];

/// The node's metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Recorder>);

struct Recorder {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    started: Instant,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Metrics that begin at zero. Each node of a process has its own.
    ///
    /// # Panics
    /// Never: the buckets are constants and not empty.
    #[must_use]
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full("handbell_connection_duration_seconds".into()),
                LIFETIMES,
            )
            .and_then(|b| {
                b.set_buckets_for_metric(Matcher::Full("handbell_fanout_size".into()), SIZES)
            })
            .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS))
            .expect("the buckets are not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let metrics = Self(Arc::new(Recorder { recorder, handle, started: Instant::now() }));
        metrics.with(describe::all);
        metrics
    }

    fn with<T>(&self, register: impl FnOnce() -> T) -> T {
        with_local_recorder(&self.0.recorder, register)
    }

    /// Folds what histograms have gathered; to be called every few seconds.
    pub fn upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.with(|| metrics::counter!(name, &owned(labels)))
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.with(|| metrics::gauge!(name, &owned(labels)))
    }

    fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.with(|| metrics::histogram!(name, &owned(labels)))
    }

    /// Counts a handshake that was turned away.
    pub fn handshake_rejected(&self, reason: &'static str) {
        self.counter("handbell_handshakes_rejected_total", &[("reason", reason)]).increment(1);
    }

    /// Says how the last reload of the configuration went.
    #[allow(clippy::cast_precision_loss)]
    pub fn config_reloaded(&self, is_successful: bool, unix_ms: u64) {
        let value = f64::from(u8::from(is_successful));
        self.gauge("handbell_config_last_reload_successful", &[]).set(value);
        if is_successful {
            let name = "handbell_config_last_reload_success_timestamp_seconds";
            self.gauge(name, &[]).set(unix_ms as f64 / 1000.0);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    labels.iter().map(|&(name, value)| (name, value.to_owned())).collect()
}

/// What is counted of one app.
#[derive(Clone)]
pub struct AppMetrics {
    metrics: Metrics,
    app: String,
    doors: Arc<[DoorMetrics]>,
    /// Publishes through the HTTP API, one for each channel.
    pub published_rest: Counter,
    /// Client events.
    pub published_client: Counter,
}

impl std::fmt::Debug for AppMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppMetrics").field("app", &self.app).finish_non_exhaustive()
    }
}

impl AppMetrics {
    /// The counters of an app. The same app always gets the same counters.
    #[must_use]
    pub fn new(metrics: &Metrics, app: &AppId) -> Self {
        let doors = Wire::ALL.iter().map(|&wire| DoorMetrics::new(metrics, app, wire)).collect();
        let app = app.as_str();
        let published = |source| {
            let labels = [("app_id", app), ("source", source)];
            metrics.counter("handbell_messages_published_total", &labels)
        };
        Self {
            doors,
            published_rest: published("rest"),
            published_client: published("client"),
            app: app.to_owned(),
            metrics: metrics.clone(),
        }
    }

    /// What is counted of a door's connections.
    #[must_use]
    pub fn door(&self, wire: Wire) -> &DoorMetrics {
        &self.doors[wire.index()]
    }

    /// Counts the outcome of a subscription.
    pub fn subscribed(&self, kind: &'static str, result: &'static str) {
        let labels = [("app_id", self.app.as_str()), ("type", kind), ("result", result)];
        self.metrics.counter("handbell_subscribe_requests_total", &labels).increment(1);
    }

    /// Counts a request that was not authentic.
    pub fn auth_failed(&self, kind: &'static str) {
        let labels = [("app_id", self.app.as_str()), ("kind", kind)];
        self.metrics.counter("handbell_auth_failures_total", &labels).increment(1);
    }

    /// Counts a visitor about whom the app was to say who it is.
    pub fn authorized(&self, outcome: &'static str) {
        let labels = [("app_id", self.app.as_str()), ("outcome", outcome)];
        self.metrics.counter("handbell_authorizations_total", &labels).increment(1);
    }

    /// Counts something that came too fast.
    pub fn rate_limited(&self, scope: &'static str) {
        let labels = [("app_id", self.app.as_str()), ("scope", scope)];
        self.metrics.counter("handbell_rate_limited_total", &labels).increment(1);
    }

    /// Counts the end of one webhook delivery.
    pub fn webhook(&self, result: &'static str, events: u64) {
        let labels = [("app_id", self.app.as_str()), ("result", result)];
        self.metrics.counter("handbell_webhook_deliveries_total", &labels).increment(events);
    }

    /// Records how long one attempt to deliver a webhook took.
    pub fn webhook_took(&self, seconds: f64) {
        let labels = [("app_id", self.app.as_str())];
        self.metrics.histogram("handbell_webhook_duration_seconds", &labels).record(seconds);
    }
}

/// What is counted of the channel table.
#[derive(Clone)]
pub struct ChannelMetrics {
    /// Channel actors started.
    pub started: Counter,
    /// Channel actors that panicked.
    pub failed: Counter,
}

impl std::fmt::Debug for ChannelMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChannelMetrics")
    }
}

impl ChannelMetrics {
    /// The counters of a node.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            started: metrics.counter("handbell_channels_started_total", &[]),
            failed: metrics.counter("handbell_actor_restarts_total", &[("kind", "channel")]),
        }
    }
}

/// Resident memory of this process and memory of the machine, in bytes; zero if unknown.
#[must_use]
pub fn memory() -> (f64, f64) {
    process::memory()
}
