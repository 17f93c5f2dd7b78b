//! Idempotency keys: a publish that is repeated with its key takes effect once.
//!
//! A key is claimed with the fingerprint of the whole request, at the slot that owns the key. Each
//! channel's answer is kept at the slot that owns the channel, under (key, item, channel), so that a
//! publish to many channels that failed on some completes only the rest when it is repeated.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::{Command, Published};
use crate::name::{AppId, ChannelKey};
use crate::refusal::Refusal;
use crate::time::{Moment, Shift};

/// How long a key is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(120);
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Keys and answers that one slot remembers. With 4,096 slots this is 16 million a node; an entry
/// has some hundreds of bytes. When it is full the oldest are forgotten first.
pub const REMEMBERED_MAX: usize = 4_096;

/// What a publisher calls an event, so that a repetition of it is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct RetryKey {
    /// The idempotency key.
    pub key: String,
    /// Index of the event within its batch; 0 outside batches.
    pub item: u32,
}

/// What makes one channel's part of a keyed publish the same as an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct ItemKey {
    /// The channel published to.
    pub channel: ChannelKey,
    /// What the publisher calls the event.
    pub retry: RetryKey,
}

impl ItemKey {
    /// The key of a command, if it is a keyed publish.
    #[must_use]
    pub fn of(channel: &ChannelKey, command: &Command) -> Option<Self> {
        let Command::Publish(draft) = command else {
            return None;
        };
        let retry = RetryKey::clone(draft.retry.as_deref()?);
        Some(Self { channel: channel.clone(), retry })
    }
}

/// What one slot remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Idempotency {
    claims: Remembered<(AppId, String), u64>,
    answers: Remembered<ItemKey, Published>,
}

impl Idempotency {
    /// Claims a key for a request with this fingerprint.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`] if a request with another fingerprint claimed it within 120 s.
    pub fn claim(
        &mut self,
        app: &AppId,
        key: &str,
        fingerprint: u64,
        now: Moment,
    ) -> Result<(), Refusal> {
        let id = (app.clone(), key.to_owned());
        match self.claims.get(&id, now) {
            Some(&claimed) if claimed != fingerprint => Err(Refusal::KeyReused),
            Some(_) => Ok(()),
            None => {
                self.claims.insert(id, fingerprint, now);
                Ok(())
            }
        }
    }

    /// The answer that this item got before, if it got one.
    pub fn answer(&mut self, item: &ItemKey, now: Moment) -> Option<Published> {
        self.answers.get(item, now).cloned()
    }

    /// Keeps the answer of an item.
    pub fn remember(&mut self, item: ItemKey, answer: Published, now: Moment) {
        self.answers.insert(item, answer, now);
    }

    /// Forgets answers that do not hold any more.
    pub fn retain_answers(&mut self, holds: impl Fn(&ItemKey, &Published) -> bool) {
        self.answers.entries.retain(|item, published| holds(item, published));
        let entries = &self.answers.entries;
        self.answers.by_age.retain(|(_, item)| entries.contains_key(item));
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.entries.is_empty() && self.answers.entries.is_empty()
    }

    /// Takes in what another node remembered, in that node's time.
    pub fn absorb(&mut self, other: Self, shift: Shift) {
        self.claims.absorb(other.claims, shift);
        self.answers.absorb(other.answers, shift);
    }
}

/// A map whose entries live for [`REMEMBERED_FOR`] and number at most [`REMEMBERED_MAX`]. A key is
/// larger than what it stands for, and is there once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(bound(
    serialize = "K: Serialize, V: Serialize",
    deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"
))]
struct Remembered<K, V> {
    entries: BTreeMap<Arc<K>, V>,
    by_age: VecDeque<(Moment, Arc<K>)>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_age: VecDeque::new() }
    }
}

impl<K: Ord, V> Remembered<K, V> {
    fn get(&mut self, key: &K, now: Moment) -> Option<&V> {
        self.forget(now);
        self.entries.get(key)
    }

    fn insert(&mut self, key: K, value: V, now: Moment) {
        self.forget(now);
        let key = Arc::new(key);
        if self.entries.insert(Arc::clone(&key), value).is_none() {
            self.by_age.push_back((now + REMEMBERED_FOR, key));
        }
    }

    fn absorb(&mut self, other: Self, shift: Shift) {
        let mut entries = other.entries;
        for (expires, key) in other.by_age {
            if let Some(value) = entries.remove(&key)
                && !self.entries.contains_key(&key)
            {
                self.by_age.push_back((expires.moved(shift), Arc::clone(&key)));
                self.entries.insert(key, value);
            }
        }
        self.by_age.make_contiguous().sort_by_key(|(expires, _)| *expires);
    }

    fn forget(&mut self, now: Moment) {
        while let Some((expires, _)) = self.by_age.front()
            && (*expires <= now || self.by_age.len() >= REMEMBERED_MAX)
            && let Some((_, key)) = self.by_age.pop_front()
        {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppId {
        AppId::parse("app").unwrap()
    }

    #[test]
    fn a_key_belongs_to_one_body_for_two_minutes() {
        let mut table = Idempotency::default();
        let start = Moment::from_micros(1);
        assert_eq!(table.claim(&app(), "k", 1, start), Ok(()));
        assert_eq!(table.claim(&app(), "k", 1, start), Ok(()));
        assert_eq!(table.claim(&app(), "k", 2, start), Err(Refusal::KeyReused));
        let later = start + REMEMBERED_FOR;
        assert_eq!(table.claim(&app(), "k", 2, later), Ok(()));
    }

    #[test]
    fn it_never_holds_more_than_its_limit() {
        let mut table = Idempotency::default();
        for number in 0..3 * REMEMBERED_MAX {
            table.claim(&app(), &number.to_string(), 1, Moment::default()).unwrap();
        }
        assert!(table.claims.entries.len() <= REMEMBERED_MAX);
        assert_eq!(table.claims.entries.len(), table.claims.by_age.len());
    }
}
