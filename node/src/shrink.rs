//! Tables that were large once give their room back: a crowd that has gone leaves no memory behind.
//!
//! A table shrinks when it uses less than a quarter of its room, to twice what it uses, so that the moves
//! are as rare as those of a table that grows. `kept` entries have room always: many where a table fills and
//! empties all the time, none where there are thousands of tables.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// How much room to leave, if there is too much.
fn room(len: usize, capacity: usize, kept: usize) -> Option<usize> {
    let room = kept.max(len * 2);
    (room.max(len * 4) < capacity).then_some(room)
}

/// After something was removed from a map.
pub(crate) fn map<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>, kept: usize) {
    if let Some(room) = room(map.len(), map.capacity(), kept) {
        map.shrink_to(room);
    }
}

/// After something was removed from a set.
pub(crate) fn set<K: Eq + Hash, S: BuildHasher>(set: &mut HashSet<K, S>, kept: usize) {
    if let Some(room) = room(set.len(), set.capacity(), kept) {
        set.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_large_once_gives_its_room_back_and_an_empty_one_all_of_it() {
        let mut table: HashMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
        let mut moves = 0;
        for key in 0..10_000 {
            table.remove(&key);
            let before = table.capacity();
            map(&mut table, 0);
            moves += u32::from(table.capacity() != before);
            assert!(table.capacity() <= 8 * table.len().max(1), "{} of {before}", table.len());
        }
        assert_eq!(table.capacity(), 0);
        assert!(moves < 20, "{moves} moves");
        let mut table: HashSet<u32> = (0..10_000).collect();
        table.clear();
        set(&mut table, 100);
        assert!((100..400).contains(&table.capacity()), "{}", table.capacity());
        table.extend(0..100);
        table.clear();
        let before = table.capacity();
        set(&mut table, before);
        assert_eq!(table.capacity(), before);
    }
}
