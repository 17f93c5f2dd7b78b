//! `[cluster]`: how a node finds the others and what it promises about them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use proto::app::Secret;
use proto::cluster::message::Ack;
use proto::cluster::quorum::Quorum;
use proto::name::NodeId;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Period};
use crate::cluster::engine::ClusterTls;

/// Bytes of the shortest secret: what one proof shows must not be worth guessing at.
const SECRET_BYTES_MIN: usize = 16;
/// Nodes of the smallest cluster that can have a majority after losing one.
const SIZE_MIN: usize = 3;

/// `[cluster]`: the other nodes. Without it there is one node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSection {
    /// The stable name of this node. The host's name if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Where links are accepted over TCP and gossip is received over UDP.
    pub listen: SocketAddr,
    /// Where the others reach this node. `listen` if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    /// Some of the nodes, as `address:port` or `name:port`.
    pub seeds: Vec<String>,
    /// What all nodes of the cluster know and nobody else.
    pub secret: Secret,
    /// Certificates, to encrypt links as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClusterTls>,
    /// When a publish is answered, unless the request says otherwise.
    pub ack: Ack,
    /// What the parts of a divided cluster do.
    pub partition_mode: PartitionMode,
    /// How many nodes there are; the majority is counted from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// How long a node looks for the others before it begins a cluster of its own.
    pub bootstrap_after: Period,
}

/// What the parts of a divided cluster do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionMode {
    /// Every part serves its own clients.
    #[default]
    Availability,
    /// Only the part with more than half of the nodes serves.
    Majority,
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
            ack: Ack::default(),
            partition_mode: PartitionMode::default(),
            size: None,
            bootstrap_after: Period(Duration::from_secs(10)),
        }
    }
}

impl ClusterSection {
    /// Where the others reach this node.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.advertise.unwrap_or(self.listen)
    }

    /// How many nodes there are, if only a majority may serve.
    #[must_use]
    pub fn quorum(&self) -> Option<Quorum> {
        let is_majority = self.partition_mode == PartitionMode::Majority;
        self.size.filter(|_| is_majority).map(Quorum::new)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(name) = &self.node_id {
            NodeId::parse(name).map_err(|error| {
                ConfigError::rule(format!("cluster.node_id = \"{name}\": {error}"))
            })?;
        }
        self.check_addresses()?;
        for seed in &self.seeds {
            check_seed(seed)?;
        }
        if self.secret.expose().len() < SECRET_BYTES_MIN {
            return Err(ConfigError::rule(format!(
                "cluster.secret is missing or shorter than {SECRET_BYTES_MIN} bytes; it is always needed, because gossip is sealed with it even where `tls` encrypts the links: take the output of `openssl rand -hex 32`"
            )));
        }
        match (self.partition_mode, self.size) {
            (PartitionMode::Majority, Some(size)) if size >= SIZE_MIN => Ok(()),
            (PartitionMode::Majority, _) => Err(ConfigError::rule(format!(
                "cluster.partition_mode = \"majority\" needs cluster.size, the number of nodes, which is at least {SIZE_MIN}"
            ))),
            (PartitionMode::Availability, None) => Ok(()),
            (PartitionMode::Availability, Some(_)) => Err(ConfigError::rule(
                "cluster.size means something only with cluster.partition_mode = \"majority\"",
            )),
        }
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let advertised = self.advertised();
        if advertised.ip().is_unspecified() {
            return Err(ConfigError::rule(format!(
                "cluster.advertise is missing: nobody can reach a node at {advertised}; give the address of this host or pod"
            )));
        }
        let exposed =
            [self.listen, advertised].into_iter().find(|address| !is_private(address.ip()));
        match exposed {
            Some(address) if self.tls.is_none() => Err(ConfigError::rule(format!(
                "cluster.tls is missing: {address} is not a loopback or private address, and links to it would not be encrypted"
            ))),
            _ => Ok(()),
        }
    }
}

fn check_seed(seed: &str) -> Result<(), ConfigError> {
    let is_name = |(name, port): (&str, &str)| {
        !name.is_empty() && !name.contains(':') && port.parse().is_ok_and(|port: u16| port > 0)
    };
    if seed.parse::<SocketAddr>().is_ok() || seed.rsplit_once(':').is_some_and(is_name) {
        return Ok(());
    }
    Err(ConfigError::rule(format!(
        "cluster.seeds: `{seed}` is neither `address:port` nor `name:port`"
    )))
}

/// Whether an address is reached only from this host, or from networks that are not the internet.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // 100.64.0.0/10 is shared by carriers, and by clouds for pods.
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && second & 0b1100_0000 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => {
            let is_local = Ipv6Addr::is_unique_local(&address);
            address.is_loopback() || is_local || address.is_unicast_link_local()
        }
    }
}
