//! Numbers that depend on a seed alone (SplitMix64).

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(super) fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.below(to - from))
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        self.micros(from * 1_000, to * 1_000)
    }

    /// A short time, and now and then a long one: what a busy machine does to a task.
    pub(super) fn turn(&mut self) -> Duration {
        if self.one_in(200) { self.millis(5, 60) } else { self.micros(5, 300) }
    }
}
