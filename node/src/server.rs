//! What every connection and request of this node works with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proto::channel::History;
use proto::cluster::view::Phase;
use proto::pusher::Timing;

use tokio::sync::Notify;

use crate::apps::Apps;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Doors;
use crate::metrics::{HttpMetrics, Metrics};
use crate::quotas::Quotas;
use crate::relay::Relay;
use crate::router::Router;
use crate::sessions::Sessions;

/// The parts of a running node that its doors share.
#[derive(Debug)]
pub struct Server {
    /// Time.
    pub clock: Clock,
    /// The apps.
    pub apps: Apps,
    /// The way to channels.
    pub router: Router,
    /// What apps may use.
    pub quotas: Quotas,
    /// This node's part in a cluster, if there is one.
    pub cluster: Option<Cluster>,
    /// This node's subscribers.
    pub relay: Arc<Relay>,
    /// Where the doors are.
    pub doors: Doors,
    /// Sessions that requests can find.
    pub sessions: Sessions,
    /// How long clients may be silent.
    pub timing: Timing,
    /// How much channels remember: nobody goes on further back.
    pub history: History,
    /// What is counted.
    pub metrics: Metrics,
    /// What is counted of requests.
    pub http_metrics: HttpMetrics,
    /// The number of the next event that this node takes in.
    pub events: AtomicU64,
    /// Told when an operator wants the node to shut down.
    pub drain: Notify,
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

    /// What must hold for the node to be ready, and whether it does.
    #[must_use]
    pub fn checks(&self) -> Vec<(&'static str, Result<String, String>)> {
        let draining = match self.is_draining() {
            true => Err("the node is shutting down".to_owned()),
            false => Ok("ok".to_owned()),
        };
        let members = self.router.view().map_or(0, |view| view.members().len());
        let ack = match members {
            0 | 1 => "sequenced (there is no second node)",
            _ => self.router.channels().default_ack().word(),
        };
        vec![
            ("listening", Ok("ok".to_owned())),
            ("draining", draining),
            ("cluster", self.check_cluster()),
            ("ack", Ok(ack.to_owned())),
            ("apps", Ok(self.compare_apps())),
        ]
    }

    /// Nodes with other apps serve all the same: a reload comes to one node after the other.
    fn compare_apps(&self) -> String {
        let others = self.cluster.as_ref().map(|cluster| cluster.differences().apps);
        let others: Vec<String> = others.iter().flatten().map(ToString::to_string).collect();
        match others.as_slice() {
            [] => "ok".to_owned(),
            others => format!("other apps than here on {}", others.join(", ")),
        }
    }

    fn check_cluster(&self) -> Result<String, String> {
        let Some(cluster) = &self.cluster else {
            return Ok("a single node".to_owned());
        };
        let phase = cluster.status.phase.load();
        if cluster.status.is_fenced() {
            return Err("this node was stopped for a while and begins anew".to_owned());
        }
        if phase.as_deref() != Some(&Phase::Serving) {
            let reason = cluster.status.rejection.load();
            return Err(match reason.as_deref() {
                Some(reason) => format!("the other nodes will not have this one: {reason}"),
                None => "looking for the other nodes".to_owned(),
            });
        }
        if self.router.channels().is_stopped() {
            return Err("this node has lost the majority of the cluster".to_owned());
        }
        let members = self.router.view().map_or(0, |view| view.members().len());
        Ok(format!("{members} nodes"))
    }

    /// Waits until the other nodes may have gone on without this one. Never without a cluster.
    pub async fn fenced(&self) {
        match &self.cluster {
            Some(cluster) => cluster.status.fenced.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Whether new clients should come here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|(_, check)| check.is_ok())
    }

    /// Whether the node is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}
