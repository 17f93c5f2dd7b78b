//! Which shards a channel touches.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::ChannelKey;
use proto::cluster::slot::Slot;

use crate::shrink;

/// Channels that each part of the index has room for always.
const ROOM: usize = 64;

/// Which shards have connections in a channel or on their way into it, one bit each.
#[derive(Debug)]
pub(super) struct Index {
    shards: usize,
    parts: Box<[Mutex<HashMap<ChannelKey, u64>>]>,
}

impl Index {
    const PARTS: usize = 64;

    pub(super) fn new(shards: usize) -> Self {
        let parts = (0..Self::PARTS).map(|_| Mutex::default()).collect();
        Self { shards, parts }
    }

    pub(super) const fn shards_total(&self) -> usize {
        self.shards
    }

    pub(super) fn add(&self, key: &ChannelKey, shard: usize) {
        let mut part = self.part(key);
        match part.get_mut(key) {
            Some(bits) => *bits |= 1 << shard,
            None => drop(part.insert(key.clone(), 1 << shard)),
        }
    }

    pub(super) fn remove(&self, key: &ChannelKey, shard: usize) {
        let mut part = self.part(key);
        if let Some(bits) = part.get_mut(key) {
            *bits &= !(1 << shard);
            if *bits == 0 {
                part.remove(key);
                shrink::map(&mut part, ROOM);
            }
        }
    }

    pub(super) fn shards(&self, key: &ChannelKey) -> u64 {
        self.part(key).get(key).copied().unwrap_or(0)
    }

    fn part(&self, key: &ChannelKey) -> MutexGuard<'_, HashMap<ChannelKey, u64>> {
        let part = &self.parts[Slot::of(key).index() % Self::PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
