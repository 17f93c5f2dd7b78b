//! The only place where the node reads the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::{Moment, Now};
use tokio::time::Instant;

/// Turns the machine's clocks into the [`Now`] of the machines, and back for timers.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins an hour before now, so that no past moment is negative.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        let origin = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
        Self { origin }
    }

    /// The time, both ways.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { moment: self.moment(), unix_ms: unix_ms() }
    }

    /// Monotonic time.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment::from_micros(micros(self.origin.elapsed()))
    }

    /// The instant for a timer that shall fire at `moment`.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.origin + Duration::from_micros(moment.micros())
    }
}

/// Milliseconds since the Unix epoch; 0 if the machine's clock is before it.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    micros(since) / 1000
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
