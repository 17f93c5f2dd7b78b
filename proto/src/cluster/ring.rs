//! The consistent-hash ring: which node owns which slot, as a table filled once per view.

use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;

use crate::name::NodeId;

use super::slot::{Slot, StableHash};

/// Points of one node on the ring. More points spread the slots more evenly.
const POINTS: u32 = 128;

/// Which node owns which slot, for one set of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    nodes: Vec<NodeId>,
    owners: Vec<u16>,
    /// Owners in the ring without the owner; empty if there is one node only.
    successors: Vec<u16>,
}

impl Ring {
    /// The ring of these nodes. The order in which they are given does not matter.
    ///
    /// # Panics
    /// If there is no node: a ring has at least the node that builds it.
    #[must_use]
    pub fn new(mut nodes: Vec<NodeId>) -> Self {
        assert!(!nodes.is_empty(), "a ring has at least the node that builds it");
        nodes.sort();
        nodes.dedup();
        let numbers: Vec<u16> = (0..).take(nodes.len()).collect();
        let owners = table(&nodes, &numbers);
        let mut successors = Vec::new();
        if nodes.len() > 1 {
            successors = vec![0; owners.len()];
            for &without in &numbers {
                let rest: Vec<u16> = numbers.iter().copied().filter(|&n| n != without).collect();
                let table = table(&nodes, &rest);
                for slot in Slot::all().map(Slot::index).filter(|&slot| owners[slot] == without) {
                    successors[slot] = table[slot];
                }
            }
        }
        Self { nodes, owners, successors }
    }

    /// The node that owns a slot.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> &NodeId {
        &self.nodes[usize::from(self.owners[slot.index()])]
    }

    /// The node that owns a slot when its owner is gone. None if it is the only one.
    #[must_use]
    pub fn successor(&self, slot: Slot) -> Option<&NodeId> {
        self.successors.get(slot.index()).map(|&number| &self.nodes[usize::from(number)])
    }

    /// How many slots a node owns.
    #[must_use]
    pub fn share(&self, node: &NodeId) -> usize {
        Slot::all().filter(|&slot| self.owner(slot) == node).count()
    }
}

/// The owner of every slot, in a ring of some of the nodes.
fn table(nodes: &[NodeId], numbers: &[u16]) -> Vec<u16> {
    let mut ring = HashRing::with_hasher(Stable);
    for &number in numbers {
        let node = &nodes[usize::from(number)];
        ring.batch_add((0..POINTS).map(|point| Point { node, number, point }).collect());
    }
    let owner = |slot: Slot| ring.get(&slot.index()).map_or(0, |point| point.number);
    Slot::all().map(owner).collect()
}

#[derive(Clone, Copy)]
struct Point<'a> {
    node: &'a NodeId,
    number: u16,
    point: u32,
}

impl Hash for Point<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.node.as_str().as_bytes());
        state.write(&self.point.to_le_bytes());
    }
}

#[derive(Clone, Copy)]
struct Stable;

impl BuildHasher for Stable {
    type Hasher = StableHasher;

    fn build_hasher(&self) -> StableHasher {
        StableHasher(StableHash::default())
    }
}

struct StableHasher(StableHash);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn write_usize(&mut self, number: usize) {
        self.0.write(&(number as u64).to_le_bytes());
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}
