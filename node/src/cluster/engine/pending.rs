//! The connections whose handshake is going on: few at a time, and whoever only waits makes room.
//!
//! A node that is welcome says hello with its first packet and is through after two round trips;
//! only a connection of somebody else stays. So nobody is turned away at the door: the newcomer is
//! let in, and the one that looks least like a node is put out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Handshakes that may go on at once.
pub(super) const PENDING_MAX: usize = 64;

/// The pending connections, each with a key to its task.
#[derive(Debug)]
pub(super) struct Pending<K> {
    connections: BTreeMap<u64, Connection<K>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Connection<K> {
    key: K,
    from: IpAddr,
    has_greeted: Arc<AtomicBool>,
}

impl<K> Pending<K> {
    pub(super) const fn new() -> Self {
        Self { connections: BTreeMap::new(), arrivals: 0 }
    }

    /// Adds a connection. `has_greeted` turns true when it has said a hello that makes sense.
    pub(super) fn insert(&mut self, key: K, from: IpAddr, has_greeted: Arc<AtomicBool>) {
        self.arrivals += 1;
        self.connections.insert(self.arrivals, Connection { key, from, has_greeted });
    }

    pub(super) fn remove(&mut self, is_it: impl Fn(&K) -> bool) {
        self.connections.retain(|_, connection| !is_it(&connection.key));
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Takes out one connection if there are too many: of those that have not said hello if there
    /// are any, of the address with the most of them, the oldest.
    pub(super) fn evict(&mut self) -> Option<K> {
        if self.connections.len() <= PENDING_MAX {
            return None;
        }
        let has_greeted = |c: &Connection<K>| c.has_greeted.load(Ordering::Relaxed);
        let all_have = self.connections.values().all(has_greeted);
        let candidates = || self.connections.iter().filter(|(_, c)| has_greeted(c) == all_have);
        let mut by_address: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (&arrival, connection) in candidates() {
            by_address.entry(connection.from).or_insert((0, arrival)).0 += 1;
        }
        let (_, oldest) = by_address.into_values().max_by_key(|&(count, _)| count)?;
        self.connections.remove(&oldest).map(|connection| connection.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn insert(pending: &mut Pending<u32>, key: u32, from: IpAddr) -> Arc<AtomicBool> {
        let has_greeted = Arc::new(AtomicBool::new(false));
        pending.insert(key, from, Arc::clone(&has_greeted));
        has_greeted
    }

    #[test]
    fn the_oldest_of_the_address_with_the_most_makes_room() {
        let mut pending = Pending::new();
        insert(&mut pending, 1000, from(1));
        for key in 0..63 {
            insert(&mut pending, key, from(2));
        }
        assert_eq!(pending.evict(), None);
        insert(&mut pending, 1001, from(3));
        assert_eq!(pending.evict(), Some(0));
        assert_eq!(pending.evict(), None);
        assert_eq!(pending.len(), PENDING_MAX);
    }

    #[test]
    fn who_has_said_hello_stays_before_all_who_have_not() {
        let mut pending = Pending::new();
        let greeted = insert(&mut pending, 1000, from(2));
        greeted.store(true, Ordering::Relaxed);
        for key in 0..200 {
            insert(&mut pending, key, from(2));
            assert_ne!(pending.evict(), Some(1000));
        }
        pending.remove(|&key| key == 1000);
        assert_eq!(pending.len(), PENDING_MAX - 1);
    }

    #[test]
    fn hellos_alone_do_not_hold_the_port() {
        let mut pending = Pending::new();
        for key in 0..65 {
            insert(&mut pending, key, from(2)).store(true, Ordering::Relaxed);
        }
        assert_eq!(pending.evict(), Some(0));
    }
}
