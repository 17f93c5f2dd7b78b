//! `partition_mode = "majority"`: a node serves only while more than half of all nodes have heard it a
//! moment ago, so that of two halves one at most acknowledges anything.
//!
//! What a node sends carries its time, and what it receives says which of these times the sender has
//! seen: that is a **proof** that it was heard then. A node that a peer has given up gets no proof from
//! it any more; so [`LEASE`] after a majority has given it up it has stopped, and a new owner that waits
//! longer than that meets nobody.

use std::time::Duration;

use crate::time::Moment;

/// How long a proof is good for.
pub const LEASE: Duration = Duration::from_millis(1_500);
/// How long a new owner waits after a majority has agreed with it, for nodes that did not: the lease,
/// and as much again as a node may be late in looking at it.
pub const LEASE_IS_OVER_AFTER: Duration = Duration::from_millis(2_000);

/// How many nodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    size: usize,
}

impl Quorum {
    /// A quorum of so many nodes, three at least.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        Self { size }
    }

    /// More than half of them.
    #[must_use]
    pub const fn majority(self) -> usize {
        self.size / 2 + 1
    }

    /// All of them.
    #[must_use]
    pub const fn size(self) -> usize {
        self.size
    }

    /// When this node has to stop, by the last proofs from other nodes; none if it may not begin.
    #[must_use]
    pub fn lease_ends(self, mut proofs: Vec<Moment>) -> Option<Moment> {
        proofs.sort_unstable_by(|one, other| other.cmp(one));
        // With this node itself they are a majority.
        let last_needed = proofs.get(self.majority() - 2)?;
        Some(*last_needed + LEASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn the_lease_is_as_old_as_the_oldest_proof_that_it_needs() {
        let three = Quorum::new(3);
        assert_eq!(three.lease_ends(vec![]), None);
        assert_eq!(three.lease_ends(vec![at(1), at(9)]), Some(at(9) + LEASE));
        let five = Quorum::new(5);
        assert_eq!(five.lease_ends(vec![at(9)]), None);
        assert_eq!(five.lease_ends(vec![at(3), at(9), at(5), at(1)]), Some(at(5) + LEASE));
        assert_eq!(Quorum::new(4).majority(), 3);
    }
}
