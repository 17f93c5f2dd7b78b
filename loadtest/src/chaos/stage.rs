//! What all threads of the load share: the plan, the clock, and what the director tells them. Every
//! word of the director's is one atomic, so there is nothing to lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use proto::app::Secret;

use super::observation::Node;
use super::plan::Plan;
use crate::dialect::Credentials;

/// The stage.
#[derive(Debug)]
pub(super) struct Stage {
    /// Who does what.
    pub plan: Plan,
    /// The app.
    pub app: Credentials,
    /// The acknowledgement that publishes ask for or, if they name none, expect of a cluster.
    pub ack: Option<&'static str>,
    began: Instant,
    ready: Vec<AtomicBool>,
    stopped: Vec<AtomicBool>,
    homing: AtomicU32,
    busy: AtomicUsize,
    /// Whether events are published.
    pub is_publishing: AtomicBool,
    /// Whether clients come and go.
    pub is_churning: AtomicBool,
    /// Whether the run is over.
    pub is_over: AtomicBool,
}

/// The app that the nodes are configured with.
#[must_use]
pub(super) fn app() -> Credentials {
    let (app_id, key) = ("chaos".into(), "chaos-key".into());
    Credentials { app_id, key, secret: Secret::new("chaos-secret") }
}

impl Stage {
    /// A quiet stage with room for so many nodes.
    #[must_use]
    pub(super) fn new(plan: Plan, nodes: usize, ack: Option<&'static str>) -> Self {
        let flags = || (0..nodes).map(|_| AtomicBool::new(false)).collect();
        Self {
            plan,
            app: app(),
            ack,
            began: Instant::now(),
            ready: flags(),
            stopped: flags(),
            homing: AtomicU32::new(0),
            busy: AtomicUsize::new(0),
            is_publishing: AtomicBool::new(false),
            is_churning: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// The time since the run began.
    #[must_use]
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether the run is over.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    /// Tells what a load balancer knows of a node.
    pub(super) fn set_ready(&self, node: Node, is_ready: bool) {
        self.ready[node].store(is_ready, SeqCst);
    }

    /// Whether a load balancer would send something to a node.
    #[must_use]
    pub(super) fn is_ready(&self, node: Node) -> bool {
        self.ready[node].load(SeqCst)
    }

    /// Tells that a node was stopped, or goes on.
    pub(super) fn set_stopped(&self, node: Node, is_stopped: bool) {
        self.stopped[node].store(is_stopped, SeqCst);
    }

    /// Whether a node was stopped, so that it cannot answer.
    #[must_use]
    pub(super) fn is_stopped(&self, node: Node) -> bool {
        self.stopped[node].load(SeqCst)
    }

    /// The first ready node, from this one on.
    #[must_use]
    pub(super) fn route(&self, from: Node) -> Option<Node> {
        let count = self.ready.len();
        (0..count).map(|step| (from + step) % count).find(|&node| self.is_ready(node))
    }

    /// Sends everyone home.
    pub(super) fn go_home(&self) {
        self.homing.fetch_add(1, SeqCst);
    }

    /// How often everyone was sent home.
    #[must_use]
    pub(super) fn homing(&self) -> u32 {
        self.homing.load(SeqCst)
    }

    /// Begins a publish. False if nothing is published at present.
    #[must_use]
    pub(super) fn begin(&self) -> bool {
        self.busy.fetch_add(1, SeqCst);
        let is_publishing = self.is_publishing.load(SeqCst) && !self.is_over();
        if !is_publishing {
            self.end();
        }
        is_publishing
    }

    /// Ends a publish.
    pub(super) fn end(&self) {
        self.busy.fetch_sub(1, SeqCst);
    }

    /// How many publishes are under way.
    #[must_use]
    pub(super) fn busy(&self) -> usize {
        self.busy.load(SeqCst)
    }
}
