//! One scrape: gauges are read from the tables, then everything is rendered.

use std::collections::BTreeMap;

use crate::apps::Apps;
use crate::channels::Channels;
use crate::cluster::Cluster;
use crate::webhook::Webhooks;

use super::process::Process;
use super::{Metrics, cluster};

/// What a scrape looks at.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The metrics.
    pub metrics: Metrics,
    /// The apps.
    pub apps: Apps,
    /// The channel table.
    pub channels: Channels,
    /// What waits to be delivered.
    pub webhooks: Webhooks,
    /// The other nodes.
    pub cluster: Option<Cluster>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    channels: f64,
    subscriptions: f64,
}

impl Scrape {
    /// The metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self, is_draining: bool) -> String {
        self.read_channels();
        self.read_webhooks();
        self.read_process();
        let draining = f64::from(u8::from(is_draining));
        self.metrics.gauge("handbell_draining", &[]).set(draining);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        self.metrics.gauge("handbell_build_info", &version).set(1.0);
        let cluster = cluster::render(&self.channels, self.cluster.as_ref());
        self.metrics.0.handle.render() + &cluster
    }

    #[allow(clippy::cast_precision_loss)]
    fn read_channels(&self) {
        let mut totals: BTreeMap<(String, &'static str), Totals> = BTreeMap::new();
        let mut members: BTreeMap<String, f64> = BTreeMap::new();
        // A kind that no longer has channels must fall to zero.
        for entry in self.apps.all() {
            for kind in ["public", "private", "encrypted", "presence", "user"] {
                totals.insert((entry.app.id.to_string(), kind), Totals::default());
            }
            members.insert(entry.app.id.to_string(), 0.0);
        }
        for (key, subscribers, members_of) in self.channels.census() {
            let app = key.app.to_string();
            let total = totals.entry((app.clone(), key.channel.kind().label())).or_default();
            total.channels += 1.0;
            total.subscriptions += subscribers as f64;
            *members.entry(app).or_default() += members_of as f64;
        }
        for ((app, kind), total) in &totals {
            let labels = [("app_id", app.as_str()), ("type", *kind)];
            self.metrics.gauge("handbell_channels", &labels).set(total.channels);
            self.metrics.gauge("handbell_subscriptions", &labels).set(total.subscriptions);
        }
        for (app, count) in &members {
            let labels = [("app_id", app.as_str())];
            self.metrics.gauge("handbell_presence_members", &labels).set(*count);
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn read_webhooks(&self) {
        let (depth, oldest) = self.webhooks.pending();
        self.metrics.gauge("handbell_webhook_queue_depth", &[]).set(depth as f64);
        let oldest = oldest.as_secs_f64();
        self.metrics.gauge("handbell_webhook_oldest_pending_seconds", &[]).set(oldest);
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn read_process(&self) {
        let process = Process::read();
        let gauges = [
            ("handbell_process_resident_memory_bytes", process.resident_bytes),
            ("handbell_process_open_fds", process.open_fds),
            ("handbell_process_max_fds", process.max_fds),
            ("handbell_process_uptime_seconds", self.metrics.0.started.elapsed().as_secs_f64()),
        ];
        for (name, value) in gauges {
            self.metrics.gauge(name, &[]).set(value);
        }
        let cpu = self.metrics.counter("handbell_process_cpu_seconds_total", &[]);
        cpu.absolute(process.cpu_seconds as u64);
        let runtime = tokio::runtime::Handle::current().metrics();
        let tasks = runtime.num_alive_tasks() as f64;
        self.metrics.gauge("handbell_tokio_alive_tasks", &[]).set(tasks);
        let depth = runtime.global_queue_depth() as f64;
        self.metrics.gauge("handbell_tokio_global_queue_depth", &[]).set(depth);
    }
}
