//! A load balancer's and an operator's eyes: every node's admin port, looked at all the time.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::sleep;
use std::time::Duration;

use super::call::get;
use super::observation::{Look, Node, Observation};
use super::plan::admin;
use super::stage::Stage;

/// How often each node is looked at.
pub(super) const EVERY: Duration = Duration::from_millis(50);
/// How long an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);

/// Watches a node until the run is over.
pub(super) fn run(node: Node, stage: &Arc<Stage>, out: &SyncSender<Observation>) {
    while !stage.is_over() {
        let look = look(node);
        stage.set_ready(node, look.is_ready == Some(true));
        if out.send(Observation::Looked(node, stage.now(), look)).is_err() {
            return;
        }
        sleep(EVERY);
    }
}

/// Looks at a node once.
pub(super) fn look(node: Node) -> Look {
    let address = admin(node);
    let ready = get(address, "/readyz", PATIENCE).ok();
    let status = ready.as_ref().and_then(|_| get(address, "/cluster", PATIENCE).ok());
    Look {
        is_ready: ready.map(|answer| answer.status() == 200),
        status: status.and_then(|answer| answer.json()).map(Arc::new),
    }
}
