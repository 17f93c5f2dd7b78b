//! When subscribers and the application are told the subscription count: on every change, and in
//! channels of more than a hundred at most every five seconds (as Pusher does).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Moment, Shift};

const EVERY: Duration = Duration::from_secs(5);
const EVERY_CHANGE_UP_TO: usize = 100;

/// What was told last, and what is still to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct CountNotice {
    told_at: Option<Moment>,
    due: Option<Moment>,
}

impl CountNotice {
    /// The count changed to `count`. True if it is to be told now.
    pub(super) fn changed(&mut self, count: usize, now: Moment) -> bool {
        let next = self.told_at.map_or(now, |told| told + EVERY);
        if count <= EVERY_CHANGE_UP_TO || next <= now {
            self.told_at = Some(now);
            self.due = None;
            return true;
        }
        self.due = Some(next);
        false
    }

    /// When a count that was held back is due.
    #[must_use]
    pub(super) const fn deadline(&self) -> Option<Moment> {
        self.due
    }

    /// Translates from another node's time.
    pub(super) fn rebase(&mut self, shift: Shift) {
        self.told_at = self.told_at.map(|at| at.moved(shift));
        self.due = self.due.map(|at| at.moved(shift));
    }

    /// True if a count that was held back is to be told now.
    pub(super) fn tick(&mut self, now: Moment) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.told_at = Some(now);
            self.due = None;
        }
        is_due
    }
}
