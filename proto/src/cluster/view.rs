//! A view: the nodes that this node believes to be in the cluster, and the ring that follows from
//! them. Views are not agreed between nodes; two nodes that see the same members have the same view.

use serde::{Deserialize, Serialize};

use crate::name::{NodeId, RelayId};

use super::ring::Ring;
use super::slot::{Slot, StableHash};

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It links to the others and owns nothing yet.
    Joining,
    /// It owns its share of the slots.
    Serving,
    /// It gives its slots away before it stops.
    Draining,
}

/// A node of a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Member {
    /// Which life of which node.
    pub id: RelayId,
    /// What it says of itself.
    pub phase: Phase,
}

/// The members that one node sees, and who owns what among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    members: Vec<Member>,
    ring: Ring,
    hash: u64,
}

impl View {
    /// The view of these members. None if no member could own a slot.
    ///
    /// Slots belong to serving nodes. If there is none, a draining one keeps its slots.
    #[must_use]
    pub fn new(mut members: Vec<Member>) -> Option<Self> {
        members.sort();
        members.dedup_by(|a, b| a.id == b.id);
        let of = |phase: Phase| -> Vec<NodeId> {
            let chosen = members.iter().filter(|member| member.phase == phase);
            chosen.map(|member| member.id.node.clone()).collect()
        };
        let owners = [Phase::Serving, Phase::Draining].into_iter().map(of);
        let owners = owners.into_iter().find(|owners| !owners.is_empty())?;
        let ring = Ring::new(owners);
        let hash = hash(&members);
        Some(Self { members, ring, hash })
    }

    /// A view of one serving node.
    #[must_use]
    pub fn alone(me: RelayId) -> Self {
        let members = vec![Member { id: me, phase: Phase::Serving }];
        let hash = hash(&members);
        let ring = Ring::new(vec![members[0].id.node.clone()]);
        Self { members, ring, hash }
    }

    /// All members, by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The other members.
    pub fn peers<'a>(&'a self, me: &'a RelayId) -> impl Iterator<Item = &'a RelayId> {
        self.members.iter().map(|member| &member.id).filter(move |id| *id != me)
    }

    /// Whether this life of a node is a member.
    #[must_use]
    pub fn has(&self, id: &RelayId) -> bool {
        self.members.iter().any(|member| member.id == *id)
    }

    /// The node that owns a slot.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> &RelayId {
        self.member(self.ring.owner(slot))
    }

    /// The node that owns a slot when its owner is gone: it holds a copy of the slot.
    #[must_use]
    pub fn successor(&self, slot: Slot) -> Option<&RelayId> {
        self.ring.successor(slot).map(|node| self.member(node))
    }

    /// Slots that a node owns.
    #[must_use]
    pub fn share(&self, node: &NodeId) -> usize {
        self.ring.share(node)
    }

    /// The same number on every node that sees the same members.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    fn member(&self, node: &NodeId) -> &RelayId {
        let found = self.members.iter().find(|member| member.id.node == *node);
        &found.expect("the ring is made of members").id
    }
}

fn hash(members: &[Member]) -> u64 {
    let mut hash = StableHash::default();
    for Member { id, phase } in members {
        hash.write(id.node.as_str().as_bytes());
        hash.write(&[0, *phase as u8]);
        hash.write(&id.incarnation.to_le_bytes());
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, phase: Phase) -> Member {
        let node = NodeId::parse(name).unwrap();
        Member { id: RelayId { node, incarnation: 7 }, phase }
    }

    #[test]
    fn the_order_in_which_members_are_found_does_not_matter() {
        let members = vec![member("a", Phase::Serving), member("b", Phase::Serving)];
        let reversed = members.iter().rev().cloned().collect();
        assert_eq!(View::new(members), View::new(reversed));
    }

    #[test]
    fn only_serving_nodes_own_slots() {
        let members = [("a", Phase::Joining), ("b", Phase::Serving), ("c", Phase::Draining)];
        let view = View::new(members.map(|(name, phase)| member(name, phase)).into()).unwrap();
        assert!(Slot::all().all(|slot| view.owner(slot).node.as_str() == "b"));
        assert!(Slot::all().all(|slot| view.successor(slot).is_none()));
        assert_eq!(View::new(vec![member("a", Phase::Joining)]), None);
    }

    #[test]
    fn the_successor_is_the_owner_of_the_ring_without_the_owner() {
        let all = ["a", "b", "c"].map(|name| member(name, Phase::Serving));
        let view = View::new(all.to_vec()).unwrap();
        for slot in Slot::all() {
            let owner = view.owner(slot).clone();
            let rest = all.iter().filter(|member| member.id != owner).cloned().collect();
            assert_eq!(view.successor(slot), Some(View::new(rest).unwrap().owner(slot)));
        }
    }
}
