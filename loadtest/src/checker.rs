//! Whether every subscriber got every event once and in order, exactly.
//!
//! A subscriber expects the next number of each of its streams. A gap is remembered number by number,
//! so that what comes late is told from what comes twice and from what never comes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::mark::Mark;

/// What went wrong, in deliveries. All zero is what is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after a later event of its stream.
    pub reordered: u64,
    /// Came to a subscriber of another channel, or was never published.
    pub strayed: u64,
    /// Connections that the server closed.
    pub closed: u64,
}

impl Faults {
    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            strayed: self.strayed + other.strayed,
            closed: self.closed + other.closed,
        }
    }
}

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The first of its event, and not late.
    InOrder,
    /// The first of its event, after a later one.
    Late,
    /// One of those that should not have come: again, or to the wrong subscriber.
    Never,
}

/// Watches what all subscribers get.
#[derive(Debug)]
pub struct Checker {
    /// The first of each subscriber's streams.
    first: Vec<u32>,
    /// How many streams each subscriber has, one after the other.
    width: u32,
    /// How many events each stream has.
    lengths: Vec<u32>,
    /// The number that comes next, for each subscriber and stream.
    next: Vec<u32>,
    /// Numbers that were overtaken, with the place of their counter in `next`.
    missing: HashSet<(usize, u32)>,
    faults: Faults,
}

impl Checker {
    /// A checker for subscribers who get `width` streams each, from the one given for each of them,
    /// of streams that have so many events.
    #[must_use]
    pub fn new(first: Vec<u32>, width: u32, lengths: Vec<u32>) -> Self {
        let counters = first.len() * width as usize;
        Self {
            first,
            width,
            lengths,
            next: vec![0; counters],
            missing: HashSet::new(),
            faults: Faults::default(),
        }
    }

    /// Takes note of a delivery.
    pub fn take(&mut self, subscriber: usize, mark: Mark) -> Taken {
        let column = mark.stream.wrapping_sub(self.first[subscriber]);
        let length = self.lengths.get(mark.stream as usize);
        if column >= self.width || length.is_none_or(|&length| mark.number >= length) {
            self.faults.strayed += 1;
            return Taken::Never;
        }
        let counter = subscriber * self.width as usize + column as usize;
        let next = &mut self.next[counter];
        if mark.number >= *next {
            self.missing.extend((*next..mark.number).map(|number| (counter, number)));
            *next = mark.number + 1;
            return Taken::InOrder;
        }
        if self.missing.remove(&(counter, mark.number)) {
            self.faults.reordered += 1;
            return Taken::Late;
        }
        self.faults.duplicated += 1;
        Taken::Never
    }

    /// Takes note of a connection that the server closed.
    pub const fn take_close(&mut self) {
        self.faults.closed += 1;
    }

    /// What went wrong, if nothing comes any more.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let mut lost = 0;
        self.each_lost(|_| lost += 1);
        Faults { lost, ..self.faults }
    }

    /// Goes through what never came anywhere, if nothing comes any more.
    pub fn each_lost(&self, mut report: impl FnMut(Mark)) {
        let width = self.width as usize;
        let stream = |counter: usize| self.first[counter / width] + (counter % width) as u32;
        for &(counter, number) in &self.missing {
            report(Mark { stream: stream(counter), number });
        }
        for (counter, &next) in self.next.iter().enumerate() {
            let stream = stream(counter);
            for number in next..self.lengths[stream as usize] {
                report(Mark { stream, number });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Subscriber 0 gets streams 0 and 1; what is wrong after these (stream, number) arrived.
    fn check(lengths: [u32; 2], arrivals: &[(u32, u32)]) -> Faults {
        let mut checker = Checker::new(vec![0], 2, lengths.into());
        for &(stream, number) in arrivals {
            checker.take(0, Mark { stream, number });
        }
        checker.faults()
    }

    #[test]
    fn everything_once_and_in_order_is_clean() {
        assert!(check([2, 1], &[(0, 0), (1, 0), (0, 1)]).is_clean());
        assert!(check([0, 0], &[]).is_clean());
    }

    #[test]
    fn what_never_comes_is_lost_in_the_middle_and_at_the_end() {
        let faults = check([4, 1], &[(0, 0), (0, 2)]);
        let expected = Faults { lost: 3, ..Faults::default() };
        assert_eq!(faults, expected);
        let mut checker = Checker::new(vec![4], 2, vec![0, 0, 0, 0, 2, 3]);
        checker.take(0, Mark { stream: 5, number: 1 });
        let mut lost = Vec::new();
        checker.each_lost(|Mark { stream, number }| lost.push((stream, number)));
        lost.sort_unstable();
        assert_eq!(lost, [(4, 0), (4, 1), (5, 0), (5, 2)]);
    }

    #[test]
    fn what_comes_again_is_duplicated() {
        let faults = check([2, 0], &[(0, 0), (0, 0), (0, 1), (0, 0)]);
        let expected = Faults { duplicated: 2, ..Faults::default() };
        assert_eq!(faults, expected);
    }

    #[test]
    fn what_comes_late_is_reordered_once_and_duplicated_after() {
        let faults = check([3, 0], &[(0, 2), (0, 0), (0, 1), (0, 1)]);
        let expected = Faults { reordered: 2, duplicated: 1, ..Faults::default() };
        assert_eq!(faults, expected);
    }

    #[test]
    fn streams_do_not_disturb_each_other() {
        assert!(check([2, 2], &[(1, 0), (1, 1), (0, 0), (0, 1)]).is_clean());
    }

    #[test]
    fn what_is_not_for_a_subscriber_strays() {
        let mut checker = Checker::new(vec![0, 1], 1, vec![1, 1]);
        let mark = |stream, number| Mark { stream, number };
        assert_eq!(checker.take(0, mark(0, 0)), Taken::InOrder);
        assert_eq!(checker.take(0, mark(1, 0)), Taken::Never);
        assert_eq!(checker.take(1, mark(1, 1)), Taken::Never);
        assert_eq!(checker.take(1, mark(9, 0)), Taken::Never);
        assert_eq!(checker.take(1, mark(1, 0)), Taken::InOrder);
        let expected = Faults { strayed: 3, ..Faults::default() };
        assert_eq!(checker.faults(), expected);
    }
}
