//! The connections whose handshake is going on: nobody is turned away at the door, but when there are
//! too many, those that look least like nodes are put out.
//!
//! A node says hello with its first packet and is through after two round trips; only strangers
//! stay. Who has said nothing yet costs a descriptor and little else, so there may be many, and a
//! newcomer has time to speak even while thousands arrive. Who has said hello costs work.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Connections that have not said hello.
const SILENT_MAX: usize = 1024;
/// Connections that have.
const GREETED_MAX: usize = 64;

/// Arrivals after which they are counted: this is done while thousands arrive.
const COUNT_EVERY: u64 = 16;

/// The pending connections, in order of arrival, each with a key to its task.
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

impl<K> Connection<K> {
    fn has_greeted(&self) -> bool {
        self.has_greeted.load(Ordering::Relaxed)
    }
}

impl<K> Pending<K> {
    pub(super) const fn new() -> Self {
        Self { connections: BTreeMap::new(), arrivals: 0 }
    }

    /// The number that the next connection gets.
    pub(super) const fn next(&self) -> u64 {
        self.arrivals + 1
    }

    /// Adds a connection. `has_greeted` turns true when it has said a hello that makes sense.
    pub(super) fn insert(&mut self, key: K, from: IpAddr, has_greeted: Arc<AtomicBool>) {
        self.arrivals += 1;
        self.connections.insert(self.arrivals, Connection { key, from, has_greeted });
    }

    pub(super) fn remove(&mut self, arrival: u64) {
        self.connections.remove(&arrival);
    }

    pub(super) fn retain(&mut self, is_going_on: impl Fn(&K) -> bool) {
        self.connections.retain(|_, connection| is_going_on(&connection.key));
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Takes out those that must go because there are too many.
    pub(super) fn evict(&mut self) -> Vec<K> {
        if self.len() <= GREETED_MAX || !self.arrivals.is_multiple_of(COUNT_EVERY) {
            return Vec::new();
        }
        let greeted = self.connections.values().filter(|c| c.has_greeted()).count();
        let mut evicted = Vec::new();
        if self.len() - greeted > SILENT_MAX {
            self.evict_of(false, SILENT_MAX, &mut evicted);
        }
        if greeted > GREETED_MAX {
            self.evict_of(true, GREETED_MAX, &mut evicted);
        }
        evicted
    }

    /// Three quarters stay, so that this need not be done for every connection: of each address its
    /// newest, up to an even share, and then the newest of all.
    fn evict_of(&mut self, has_greeted: bool, limit: usize, evicted: &mut Vec<K>) {
        let target = limit * 3 / 4;
        let is_one = |c: &&Connection<K>| c.has_greeted() == has_greeted;
        let mut by_address: BTreeMap<IpAddr, usize> =
            self.connections.values().filter(is_one).map(|c| (c.from, 0)).collect();
        let share = (target / by_address.len().max(1)).max(1);
        let mut staying = 0;
        let mut going = Vec::new();
        for (&arrival, connection) in self.connections.iter().rev().filter(|(_, c)| is_one(c)) {
            let kept = by_address.entry(connection.from).or_default();
            if *kept >= share || staying >= target {
                going.push(arrival);
            } else {
                *kept += 1;
                staying += 1;
            }
        }
        let gone = going.iter().filter_map(|arrival| self.connections.remove(arrival));
        evicted.extend(gone.map(|connection| connection.key));
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
    fn an_address_with_many_gives_way_to_those_with_few() {
        let mut pending = Pending::new();
        insert(&mut pending, 5000, from(1));
        for key in 0..1023 {
            insert(&mut pending, key, from(2));
        }
        assert!(pending.evict().is_empty());
        insert(&mut pending, 5001, from(3));
        for key in 1023..1038 {
            insert(&mut pending, key, from(2));
        }
        let evicted = pending.evict();
        assert_eq!(evicted.iter().min(), Some(&0));
        assert_eq!(evicted.len(), 1038 - 256);
        let stays = |key| pending.connections.values().any(|connection| connection.key == key);
        assert!(stays(5000) && stays(5001) && stays(1037) && !stays(781));
    }

    #[test]
    fn who_has_said_hello_is_not_put_out_by_those_who_have_not() {
        let mut pending = Pending::new();
        insert(&mut pending, 5000, from(2)).store(true, Ordering::Relaxed);
        for key in 0..5000 {
            insert(&mut pending, key, from(2));
            assert!(!pending.evict().contains(&5000));
            assert!(pending.len() <= SILENT_MAX + 16);
        }
        pending.remove(1);
        assert!(pending.connections.values().all(|connection| connection.key != 5000));
    }

    #[test]
    fn hellos_alone_do_not_hold_the_port() {
        let mut pending = Pending::new();
        for key in 0..80 {
            insert(&mut pending, key, from(2)).store(true, Ordering::Relaxed);
        }
        assert_eq!(pending.evict(), (0..32).rev().collect::<Vec<_>>());
        assert!(pending.evict().is_empty());
    }

    #[test]
    fn many_addresses_do_not_hold_the_port_either() {
        let mut pending = Pending::new();
        for key in 0..1104_u32 {
            let [.., third, fourth] = key.to_be_bytes();
            insert(&mut pending, key, IpAddr::from([10, 0, third, fourth]));
        }
        assert_eq!(pending.evict().len(), 1104 - 768);
    }
}
