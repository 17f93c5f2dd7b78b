//! What a node gossips about itself: small facts, one text, never anything of a channel.

use std::net::SocketAddr;

pub use proto::cluster::view::Phase;
use proto::name::NodeId;
use proto::{RelayId, name::NameError};
use serde::{Deserialize, Serialize};

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which life of which node it is.
    pub id: RelayId,
    /// Where the others reach it, for links and for gossip.
    pub cluster: SocketAddr,
    /// Where clients reach it, if that is one address.
    pub clients: Option<SocketAddr>,
    /// The version of the cluster's protocol, major and minor in one byte each.
    pub wire: u16,
    /// How many slots it divides the channels into.
    pub slots: u16,
    /// How far it has come in its life.
    pub phase: Phase,
    /// A hash of its apps, to see whether all nodes have the same ones.
    pub apps_digest: u64,
    /// The version of the program.
    pub version: String,
    /// A hash of the nodes that it takes for serving.
    pub view_hash: u64,
    /// The peers whose links it takes for dead.
    pub suspects: Vec<NodeId>,
}

/// Another node as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it said last.
    pub facts: Facts,
    /// Whether it has been heard of lately, directly or through others.
    pub is_live: bool,
}

/// [`Facts`] as they are gossiped. Fields may be added; readers ignore those they do not know.
#[derive(Deserialize, Serialize)]
struct Gossiped {
    node: String,
    incarnation: u64,
    cluster: SocketAddr,
    clients: Option<SocketAddr>,
    wire: u16,
    slots: u16,
    phase: Phase,
    apps_digest: u64,
    version: String,
    view_hash: u64,
    suspects: Vec<String>,
}

impl Facts {
    pub(super) fn encode(&self) -> String {
        let gossiped = Gossiped {
            node: self.id.node.to_string(),
            incarnation: self.id.incarnation,
            cluster: self.cluster,
            clients: self.clients,
            wire: self.wire,
            slots: self.slots,
            phase: self.phase,
            apps_digest: self.apps_digest,
            version: self.version.clone(),
            view_hash: self.view_hash,
            suspects: self.suspects.iter().map(ToString::to_string).collect(),
        };
        serde_json::to_string(&gossiped).expect("the facts are plain values")
    }

    /// Reads what another node said; none if it is not understood.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let said: Gossiped = serde_json::from_str(text).ok()?;
        let suspects: Result<Vec<NodeId>, NameError> =
            said.suspects.iter().map(|node| NodeId::parse(node)).collect();
        Some(Self {
            id: RelayId { node: NodeId::parse(&said.node).ok()?, incarnation: said.incarnation },
            cluster: said.cluster,
            clients: said.clients,
            wire: said.wire,
            slots: said.slots,
            phase: said.phase,
            apps_digest: said.apps_digest,
            version: said.version,
            view_hash: said.view_hash,
            suspects: suspects.ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_read_back_and_later_fields_are_ignored() {
        let node = |name: &str| NodeId::parse(name).unwrap();
        let facts = Facts {
            id: RelayId { node: node("a"), incarnation: u64::MAX },
            cluster: "127.0.0.1:1".parse().unwrap(),
            clients: Some("[::1]:2".parse().unwrap()),
            wire: 0x0100,
            slots: 4096,
            phase: Phase::Joining,
            apps_digest: u64::MAX,
            version: "0.1.0".into(),
            view_hash: 1,
            suspects: vec![node("b")],
        };
        let text = facts.encode();
        assert_eq!(Facts::decode(&text), Some(facts.clone()));
        let later = text.replacen('{', "{\"later\":[1],", 1);
        assert_eq!(Facts::decode(&later), Some(facts));
        assert_eq!(Facts::decode("{}"), None);
    }
}
