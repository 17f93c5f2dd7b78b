//! Time as the machines see it: a monotonic moment for everything that waits, and the wall clock
//! for what is shown or signed. Timeouts never depend on the wall clock, so a jump of it ends nothing.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point of monotonic time, in microseconds since an origin that the process chose at its start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
pub struct Moment(u64);

impl Moment {
    /// The moment `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The same point of time in the monotonic time of another node, whose `here` was our `there`
    /// at about the same time.
    #[must_use]
    pub const fn moved(self, shift: Shift) -> Self {
        Self(self.0.saturating_add_signed(shift.0))
    }

    /// The time from `earlier` until this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// How far the monotonic time of this node is ahead of another node's, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shift(i64);

impl Shift {
    /// The shift of a node whose monotonic time was `theirs` when ours was `ours`.
    #[must_use]
    pub const fn between(theirs: Moment, ours: Moment) -> Self {
        Self(ours.0.wrapping_sub(theirs.0).cast_signed())
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// What a machine is told about the time when something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Now {
    /// Monotonic time: all timeouts, windows and rates.
    pub moment: Moment,
    /// Milliseconds since the Unix epoch: labels and signatures only.
    pub unix_ms: u64,
}

/// The earlier of two optional deadlines.
#[must_use]
pub fn earliest(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
