//! Order within a channel: every publication has a [`Position`], and positions only grow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One ownership of a channel. A later ownership has a larger epoch, on whichever node it began.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
pub struct Epoch {
    /// The larger of the last known birth + 1 and the wall clock in ms when the epoch began.
    pub birth: u64,
    /// The incarnation of the owning node: two sides of a partition never share an epoch.
    pub incarnation: u64,
}

impl Epoch {
    /// The epoch that follows `last`, begun at `unix_ms` by a node of this `incarnation`.
    #[must_use]
    pub fn after(last: Option<Self>, unix_ms: u64, incarnation: u64) -> Self {
        let at_least = last.map_or(0, |last| last.birth.saturating_add(1));
        Self { birth: unix_ms.max(at_least), incarnation }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.birth, self.incarnation)
    }
}

/// The number of a publication within its channel: 1 for the first, without gaps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a publication stands in its channel. Ordered by epoch, then offset.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
pub struct Position {
    /// The ownership that accepted it.
    pub epoch: Epoch,
    /// Its number.
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.offset.0, self.epoch)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a position: the number of an event, `-`, and its epoch")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (offset, epoch) = text.split_once('-').ok_or(NotAPosition)?;
        let (birth, incarnation) = epoch.split_once('-').ok_or(NotAPosition)?;
        let number = |text: &str, radix| {
            // `from_str_radix` takes a sign, too.
            let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric());
            u64::from_str_radix(text, radix).ok().filter(|_| is_plain).ok_or(NotAPosition)
        };
        let epoch = Epoch { birth: number(birth, 16)?, incarnation: number(incarnation, 16)? };
        Ok(Self { epoch, offset: Offset(number(offset, 10)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let epoch = Epoch { birth: 0x1e, incarnation: 0xff };
        let position = Position { epoch, offset: Offset(10) };
        assert_eq!(position.to_string(), "10-1e-ff");
        assert_eq!("10-1e-ff".parse(), Ok(position));
        for bad in ["", "10", "10-1e", "x-1e-ff", "10-1e-ff-1", "+10-1e-ff", "10--1e-ff", "10-1e-"]
        {
            assert_eq!(bad.parse::<Position>(), Err(NotAPosition), "{bad}");
        }
    }

    #[test]
    fn a_later_ownership_is_larger_even_when_the_clock_went_back() {
        let first = Epoch::after(None, 1_000, 7);
        let second = Epoch::after(Some(first), 500, 3);
        assert!(second > first);
    }
}
