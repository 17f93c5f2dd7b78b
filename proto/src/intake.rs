//! How much a connection may say.

use crate::app::Limits;
use crate::rate::{Bucket, Rate};
use crate::refusal::Refusal;
use crate::time::Moment;

/// What a connection may say, as its app's limits have it: ten seconds' worth at once.
#[derive(Debug, Default)]
pub struct Intake(Bucket);

impl Intake {
    /// Lets a message in.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`].
    pub fn admit(&mut self, limits: &Limits, now: Moment) -> Result<(), Refusal> {
        let per_second = limits.messages_per_second;
        let rate = Rate { per_second, burst: per_second.saturating_mul(10) };
        self.0.take(1, rate, now).map_err(|retry_after| Refusal::RateLimited {
            what: "messages from this connection",
            limit: per_second,
            setting: "messages_per_second",
            retry_after,
        })
    }
}
