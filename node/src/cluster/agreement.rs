//! In what the other nodes differ from this one, by what they gossip. Nothing is decided by it: it
//! shows operators that a roll-out is under way, or that a node was forgotten.

use proto::name::NodeId;
use serde::Serialize;

use super::engine::{Facts, Seen};

/// The live nodes that differ from this one, for each thing that should be the same everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// They see other members.
    pub view: Vec<NodeId>,
    /// Their apps are configured differently.
    pub apps: Vec<NodeId>,
    /// They run another version of the program.
    pub version: Vec<NodeId>,
    /// They speak another version of the cluster's protocol.
    pub wire: Vec<NodeId>,
}

impl Differences {
    /// What these nodes do not have in common with this one.
    #[must_use]
    pub fn between(me: &Facts, others: &[Seen]) -> Self {
        let differing = |differs: fn(&Facts, &Facts) -> bool| -> Vec<NodeId> {
            let live = others.iter().filter(|seen| seen.is_live).map(|seen| &seen.facts);
            live.filter(|facts| differs(me, facts)).map(|facts| facts.id.node.clone()).collect()
        };
        Self {
            view: differing(|me, other| me.view_hash != other.view_hash),
            apps: differing(|me, other| me.apps_digest != other.apps_digest),
            version: differing(|me, other| me.version != other.version),
            wire: differing(|me, other| me.wire != other.wire),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::RelayId;

    use super::*;
    use crate::cluster::engine::Phase;

    fn node(name: &str, change: impl FnOnce(&mut Facts)) -> Seen {
        let mut facts = Facts {
            id: RelayId { node: NodeId::parse(name).unwrap(), incarnation: 1 },
            cluster: "127.0.0.1:1".parse().unwrap(),
            clients: None,
            wire: 0x0100,
            slots: 4096,
            phase: Phase::Serving,
            apps_digest: 1,
            version: "1".into(),
            view_hash: 1,
            suspects: Vec::new(),
        };
        change(&mut facts);
        Seen { facts, is_live: true }
    }

    #[test]
    fn live_nodes_are_named_for_what_they_differ_in() {
        let me = node("a", |_| {}).facts;
        let alike = node("b", |_| {});
        let other = node("c", |facts| {
            facts.apps_digest = 2;
            facts.version = "2".into();
        });
        let found = Differences::between(&me, &[alike, other.clone()]);
        let c = vec![other.facts.id.node.clone()];
        let expected = Differences { apps: c.clone(), version: c, ..Differences::default() };
        assert_eq!(found, expected);
        let gone = Seen { is_live: false, ..other };
        assert_eq!(Differences::between(&me, &[gone]), Differences::default());
    }
}
