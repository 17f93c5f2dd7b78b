//! What users may do: the budgets that are kept here, and the parts that this node was given of any.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::budget::{Budgets, Deed, Doer};
use proto::cluster::message::Answer;
use proto::{App, Moment, Refusal, UserId};
use tokio::time::{Instant, timeout};

use super::Quotas;

/// How long a part may be used: the budget that it was taken from fills up meanwhile.
const PART_HOLDS_FOR: Duration = Duration::from_secs(1);
/// Parts at most. Beyond that the rest of a part is given up.
const PARTS_MAX: usize = 65_536;
/// How long the owner of a budget may take to answer. What cannot be counted in time is allowed.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// The users of this node's connections, and those whose budgets are here.
#[derive(Debug, Default)]
pub(super) struct Users {
    budgets: Mutex<Budgets>,
    parts: Mutex<HashMap<Doer, Part>>,
}

#[derive(Debug)]
struct Part {
    deeds: u32,
    until: Instant,
}

impl Quotas {
    /// Gives a part of a budget that is kept here.
    #[must_use]
    pub fn spend(&self, doer: Doer, per_second: u32, now: Moment) -> Answer {
        let mut budgets = self.0.users.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        match budgets.take(doer, per_second, now) {
            Ok(deeds) => Answer::Part(deeds, 0),
            Err(wait) => Answer::Part(0, u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        }
    }

    /// Counts something that a user does. A user whose budget cannot be asked for is let do it.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`].
    pub async fn admit_user(&self, app: &App, user: &UserId, deed: Deed) -> Result<(), Refusal> {
        let doer = Doer { app: app.id.clone(), user: user.clone(), deed };
        if self.0.users.use_part(&doer) {
            return Ok(());
        }
        let Some(router) = self.0.router.get() else {
            return Ok(());
        };
        let asked = router.spend(&doer, deed.per_second(&app.limits));
        match timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok((0, retry_after))) => Err(deed.refusal(&app.limits, retry_after)),
            Ok(Ok((deeds, _))) => {
                self.0.users.keep_part(doer, deeds - 1);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(app = %app.id, %user, ?deed, "a budget could not be asked for");
                Ok(())
            }
        }
    }
}

impl Users {
    fn use_part(&self, doer: &Doer) -> bool {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        match parts.get_mut(doer) {
            Some(part) if part.deeds > 0 && Instant::now() < part.until => {
                part.deeds -= 1;
                true
            }
            _ => false,
        }
    }

    /// Keeps what is left of a part. Deeds that were asked for at the same time add up, and none lasts
    /// longer than the first of them.
    fn keep_part(&self, doer: Doer, deeds: u32) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if parts.len() >= PARTS_MAX {
            parts.retain(|_, part| part.deeds > 0 && now < part.until);
        }
        let has_room = parts.len() < PARTS_MAX;
        match parts.get_mut(&doer).filter(|part| now < part.until) {
            Some(part) => part.deeds = part.deeds.saturating_add(deeds),
            None if deeds > 0 && has_room => {
                parts.insert(doer, Part { deeds, until: now + PART_HOLDS_FOR });
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::AppId;

    use super::*;

    #[test]
    fn parts_that_were_asked_for_at_the_same_time_add_up() {
        let (users, user) = (Users::default(), UserId::parse("ann").unwrap());
        let doer = Doer { app: AppId::parse("a").unwrap(), user, deed: Deed::Poll };
        users.keep_part(doer.clone(), 2);
        users.keep_part(doer.clone(), 1);
        users.keep_part(doer.clone(), 0);
        assert_eq!((0..5).filter(|_| users.use_part(&doer)).count(), 3);
        users.keep_part(doer.clone(), 1);
        users.parts.lock().unwrap().get_mut(&doer).unwrap().until = Instant::now();
        assert!(!users.use_part(&doer), "it has had its time");
        users.keep_part(doer.clone(), 1);
        assert!(users.use_part(&doer));
    }
}
