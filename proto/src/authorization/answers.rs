//! Answers that are remembered: for so many seconds, and so many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::{Moment, Now};

use super::{Authorization, Key, Verdict};

/// The answers of one app.
#[derive(Debug)]
pub struct Answers {
    keep_for: Duration,
    entries_max: usize,
    pub(super) verdicts: BTreeMap<Key, (Moment, Verdict)>,
    /// When each was given, the oldest first.
    pub(super) given: BTreeSet<(Moment, Key)>,
}

impl Answers {
    /// None yet.
    #[must_use]
    pub fn new(terms: &Authorization) -> Self {
        Self {
            keep_for: Duration::from_secs(terms.cache_seconds.into()),
            entries_max: terms.cache_entries,
            verdicts: BTreeMap::new(),
            given: BTreeSet::new(),
        }
    }

    /// The answer to a question, if it still counts.
    #[must_use]
    pub fn get(&self, key: Key, now: Now) -> Option<Verdict> {
        let (given, verdict) = self.verdicts.get(&key)?;
        let is_fresh = now.moment.since(*given) < self.keep_for;
        let is_over = |until| until <= now.unix_ms;
        let has_ended =
            verdict.as_ref().is_ok_and(|who| who.expires_unix_ms().is_some_and(is_over));
        (is_fresh && !has_ended).then(|| verdict.clone())
    }

    /// Remembers an answer, and forgets those that are too old or too many.
    pub fn put(&mut self, key: Key, verdict: Verdict, now: Now) {
        if let Some((given, _)) = self.verdicts.insert(key, (now.moment, verdict)) {
            self.given.remove(&(given, key));
        }
        self.given.insert((now.moment, key));
        while let Some(&(given, oldest)) = self.given.first() {
            let is_fresh = now.moment.since(given) < self.keep_for;
            if is_fresh && self.given.len() <= self.entries_max {
                break;
            }
            self.given.pop_first();
            self.verdicts.remove(&oldest);
        }
    }
}
