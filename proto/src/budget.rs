//! How much one user may do in a second, over all connections and nodes. The budgets of a user are at
//! one node, the owner of a slot; the others ask it for small parts. They are not replicated: after a
//! change of owner every user begins with full ones.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::Limits;
use crate::name::{AppId, UserId};
use crate::rate::{Bucket, Rate};
use crate::refusal::Refusal;
use crate::time::Moment;

/// Budgets that a node keeps at most. One that is full again says nothing and is forgotten first.
pub const BUDGETS_MAX: usize = 65_536;
/// What a user may do at once, in seconds of the rate.
const BURST_SECONDS: u32 = 10;
/// A node is given so many parts of a second's worth at once.
const PARTS: u32 = 10;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Deed {
    /// An event that a token allows its user to publish.
    Publish,
    /// A request for what is new.
    Poll,
}

/// Whose deeds are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Doer {
    /// The app.
    pub app: AppId,
    /// The user.
    pub user: UserId,
    /// What.
    pub deed: Deed,
}

impl Deed {
    /// How many a second an app allows.
    #[must_use]
    pub const fn per_second(self, limits: &Limits) -> u32 {
        match self {
            Self::Publish => limits.user_publishes_per_second,
            Self::Poll => limits.user_polls_per_second,
        }
    }

    /// The key of the limit.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Publish => "user_publishes_per_second",
            Self::Poll => "user_polls_per_second",
        }
    }

    /// That there is nothing left.
    #[must_use]
    pub const fn refusal(self, limits: &Limits, retry_after: Duration) -> Refusal {
        let what = match self {
            Self::Publish => "publishes of this user",
            Self::Poll => "polls of this user",
        };
        let (limit, setting) = (self.per_second(limits), self.setting());
        Refusal::RateLimited { what, limit, setting, retry_after }
    }
}

/// The budgets at one node.
#[derive(Debug, Default)]
pub struct Budgets {
    buckets: BTreeMap<Doer, Bucket>,
    /// How many there may be before the full ones are looked for again.
    tidy_at: usize,
}

impl Budgets {
    /// Takes a part of somebody's budget for a node that has used up the last one, and returns how many
    /// deeds it has: at least one.
    ///
    /// # Errors
    /// When one will be there.
    pub fn take(&mut self, doer: Doer, per_second: u32, now: Moment) -> Result<u32, Duration> {
        self.tidy(now);
        let rate = Rate { per_second, burst: per_second.saturating_mul(BURST_SECONDS) };
        let bucket = self.buckets.entry(doer).or_default();
        let part = (per_second / PARTS).max(1);
        match bucket.take(part, rate, now) {
            Ok(()) => Ok(part),
            Err(_) => bucket.take(1, rate, now).map(|()| 1),
        }
    }

    fn tidy(&mut self, now: Moment) {
        if self.buckets.len() < self.tidy_at.max(1) {
            return;
        }
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        if self.buckets.len() >= BUDGETS_MAX {
            // So many users at once are not stopped by counting each.
            self.buckets.clear();
        }
        self.tidy_at = (self.buckets.len() * 2).clamp(1_024, BUDGETS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doer(user: &str) -> Doer {
        let (app, user) = (AppId::parse("app").unwrap(), UserId::parse(user).unwrap());
        Doer { app, user, deed: Deed::Publish }
    }

    #[test]
    fn nodes_together_get_a_burst_and_then_the_rate() {
        let (mut budgets, start) = (Budgets::default(), Moment::from_micros(1));
        let mut given = 0;
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            while let Ok(part) = budgets.take(doer("ann"), 20, now) {
                given += part;
            }
        }
        assert!((380..=400).contains(&given), "{given}");
        let wait = budgets.take(doer("ann"), 20, start + Duration::from_millis(9_999)).unwrap_err();
        assert!(wait <= Duration::from_millis(50), "{wait:?}");
        assert_eq!(budgets.take(doer("bob"), 20, start), Ok(2), "another user has its own");
    }

    #[test]
    fn a_budget_that_is_full_again_is_forgotten() {
        let (mut budgets, start) = (Budgets::default(), Moment::from_micros(1));
        for n in 0..200_000_u64 {
            let now = start + Duration::from_millis(n);
            budgets.take(doer(&n.to_string()), 10, now).unwrap();
            assert!(budgets.buckets.len() <= 2_048);
        }
        for n in 0..200_000 {
            budgets.take(doer(&n.to_string()), 1, start).unwrap();
            assert!(budgets.buckets.len() <= BUDGETS_MAX);
        }
    }
}
