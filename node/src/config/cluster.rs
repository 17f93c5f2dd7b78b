//! `[cluster]`: the other nodes.

use std::net::SocketAddr;
use std::time::Duration;

use proto::app::Secret;
use proto::cluster::message::Ack;
use serde::{Deserialize, Serialize};

use super::Period;

/// `[cluster]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSection {
    /// The node's name.
    pub node_id: Option<String>,
    /// Where.
    pub listen: SocketAddr,
    /// Where others reach it.
    pub advertise: Option<SocketAddr>,
    /// Seeds.
    pub seeds: Vec<String>,
    /// Secret.
    pub secret: Secret,
    /// Tls.
    pub tls: Option<crate::cluster::engine::ClusterTls>,
    /// Ack.
    pub ack: Ack,
    /// Bootstrap.
    pub bootstrap_after: Period,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self {
            node_id: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 6002)),
            advertise: None,
            seeds: Vec::new(),
            secret: Secret::new(""),
            tls: None,
            ack: Ack::Replicated,
            bootstrap_after: Period(Duration::from_secs(10)),
        }
    }
}
