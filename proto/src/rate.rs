//! A token bucket: so many a second, with a burst, and no memory but two words.

use std::time::Duration;

use crate::time::Moment;

/// Allows `per_second` actions a second on average and `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket would be full again if nothing more were taken.
    full_at: Moment,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn new() -> Self {
        Self { full_at: Moment::from_micros(0) }
    }

    /// Whether it is full, so that nothing would be lost if it were forgotten.
    #[must_use]
    pub fn is_full(&self, now: Moment) -> bool {
        self.full_at <= now
    }

    /// Takes `amount` tokens.
    ///
    /// # Errors
    /// How long to wait until that amount is there; nothing is taken.
    pub fn take(&mut self, amount: u32, rate: Rate, now: Moment) -> Result<(), Duration> {
        let cost = rate.time_for(amount);
        let full_at = self.full_at.max(now) + cost;
        let capacity = rate.time_for(rate.burst);
        match (full_at - now).checked_sub(capacity) {
            Some(excess) if !excess.is_zero() => Err(excess),
            _ => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

/// How fast a [`Bucket`] fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second, at least 1.
    pub per_second: u32,
    /// Tokens at most, at least 1.
    pub burst: u32,
}

impl Rate {
    /// `per_second` tokens a second, and as many at once.
    #[must_use]
    pub const fn per_second(per_second: u32) -> Self {
        Self { per_second, burst: per_second }
    }

    /// How long so many tokens take to come. Rounded as a whole, so that fast rates hold too.
    fn time_for(self, tokens: u32) -> Duration {
        Duration::from_secs(1) * tokens / self.per_second.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_its_burst_and_then_its_rate() {
        let (mut bucket, rate) = (Bucket::new(), Rate::per_second(10));
        let start = Moment::from_micros(5_000_000);
        for _ in 0..10 {
            assert_eq!(bucket.take(1, rate, start), Ok(()));
        }
        assert_eq!(bucket.take(1, rate, start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(1, rate, start + Duration::from_millis(100)), Ok(()));
    }

    #[test]
    fn in_ten_seconds_it_gives_at_most_its_rate_and_one_burst() {
        let (mut bucket, rate) = (Bucket::new(), Rate::per_second(10));
        let given = (0..10_000_u64)
            .filter(|ms| bucket.take(1, rate, Moment::from_micros(ms * 1000)).is_ok())
            .count();
        assert!((100..=110).contains(&given), "{given}");
    }
}
