//! Properties of the ring: what a node that comes or goes may move, and how even the shares are.

use proptest::prelude::*;
use proto::cluster::ring::Ring;
use proto::cluster::slot::{SLOTS, Slot};
use proto::name::NodeId;

fn nodes(numbers: &[u8]) -> Vec<NodeId> {
    let name = |n: &u8| NodeId::parse(&format!("node-{n}")).unwrap();
    numbers.iter().map(name).collect()
}

proptest! {
    #[test]
    fn a_node_that_leaves_moves_only_its_own_slots(
        set in proptest::collection::btree_set(0_u8..50, 2..8)
    ) {
        let all: Vec<u8> = set.into_iter().collect();
        let (gone, rest) = all.split_first().unwrap();
        let (before, after) = (Ring::new(nodes(&all)), Ring::new(nodes(rest)));
        let gone = &nodes(&[*gone])[0];
        for slot in Slot::all() {
            if before.owner(slot) != gone {
                prop_assert_eq!(before.owner(slot), after.owner(slot));
            }
        }
    }

    #[test]
    fn the_order_in_which_nodes_are_named_does_not_matter(
        mut numbers in proptest::collection::vec(0_u8..50, 1..8)
    ) {
        let one = Ring::new(nodes(&numbers));
        numbers.reverse();
        prop_assert_eq!(one, Ring::new(nodes(&numbers)));
    }
}

#[test]
fn a_single_node_owns_everything() {
    let only = nodes(&[1]);
    assert_eq!(Ring::new(only.clone()).share(&only[0]), usize::from(SLOTS));
}

#[test]
fn shares_of_five_nodes_are_within_a_third_of_even() {
    let five = nodes(&[1, 2, 3, 4, 5]);
    let ring = Ring::new(five.clone());
    let even = usize::from(SLOTS) / 5;
    for node in &five {
        let share = ring.share(node);
        assert!(share.abs_diff(even) <= even / 3, "{node} has {share}, even is {even}");
    }
}
