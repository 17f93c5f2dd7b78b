//! What happened when: deliveries and their latency in a fixed number of buckets, whose width doubles
//! as often as a run needs it. Nothing is allocated for a delivery.

use hdrhistogram::Histogram;

use crate::recording::TrafficOverTime;

/// Buckets at most; after a doubling, half of them.
const BUCKETS: usize = 100;
/// Their width at the beginning: a run of a second is not doubled.
const WIDTH_NS: u64 = 10_000_000;
/// Latencies are told apart from here …
const LATENCY_MIN_NS: u64 = 1_000;
/// … up to this, with two digits: 12 KB a bucket.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// The buckets, from a moment on.
#[derive(Debug)]
pub struct Timeline {
    /// When the first one begins, by the clock of whoever takes notes.
    from_ns: u64,
    /// The last time that was noted.
    to_ns: u64,
    width_ns: u64,
    /// How many are in use.
    used: usize,
    buckets: Vec<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    published: u64,
    delivered: u64,
    wrong: u64,
    lost: u64,
    latency: Histogram<u32>,
}

impl Bucket {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 2);
        let latency = latency.expect("the bounds are constant and in order");
        Self { published: 0, delivered: 0, wrong: 0, lost: 0, latency }
    }

    fn clear(&mut self) {
        (self.published, self.delivered, self.wrong, self.lost) = (0, 0, 0, 0);
        self.latency.reset();
    }

    fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.latency.add(&other.latency).expect("all have the same bounds");
    }
}

impl Default for Timeline {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(Bucket::new).take(BUCKETS).collect();
        Self { from_ns: 0, to_ns: 0, width_ns: WIDTH_NS, used: 0, buckets }
    }
}

impl Timeline {
    /// Begins anew at this time.
    pub fn restart(&mut self, from_ns: u64) {
        self.buckets.iter_mut().for_each(Bucket::clear);
        (self.from_ns, self.to_ns) = (from_ns, from_ns);
        (self.width_ns, self.used) = (WIDTH_NS, 0);
    }

    /// So many events were published.
    pub fn published(&mut self, at_ns: u64, events: u64) {
        self.at(at_ns).published += events;
    }

    /// An event arrived after so long.
    pub fn delivered(&mut self, at_ns: u64, latency_ns: u64) {
        let bucket = self.at(at_ns);
        bucket.delivered += 1;
        bucket.latency.saturating_record(latency_ns.max(LATENCY_MIN_NS));
    }

    /// Something arrived that should not have, or not then; or a connection was closed.
    pub fn wrong(&mut self, at_ns: u64) {
        self.at(at_ns).wrong += 1;
    }

    /// An event that was published then never arrived somewhere.
    pub fn lost(&mut self, at_ns: u64) {
        self.at(at_ns).lost += 1;
    }

    /// The bucket of a time. What was before the beginning belongs to the first.
    fn at(&mut self, at_ns: u64) -> &mut Bucket {
        self.to_ns = self.to_ns.max(at_ns);
        let since = at_ns.saturating_sub(self.from_ns);
        loop {
            let place = usize::try_from(since / self.width_ns).unwrap_or(usize::MAX);
            if place < BUCKETS {
                self.used = self.used.max(place + 1);
                return &mut self.buckets[place];
            }
            self.double();
        }
    }

    fn double(&mut self) {
        for place in 0..BUCKETS / 2 {
            // The earlier one of the two is free, or in its place already.
            let (before, from) = self.buckets.split_at_mut(2 * place + 1);
            before.swap(place, 2 * place);
            before[place].add(&from[0]);
        }
        self.buckets[BUCKETS / 2..].iter_mut().for_each(Bucket::clear);
        self.width_ns *= 2;
        self.used = self.used.div_ceil(2);
    }

    /// What there is, as it is reported; `began_s` is when this one's clock began, in the round.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn over_time(&self, began_s: f64) -> TrafficOverTime {
        let used = &self.buckets[..self.used];
        let counts = |count: fn(&Bucket) -> u64| used.iter().map(count).collect();
        let quantile = |quantile: f64| {
            let ms = |bucket: &Bucket| {
                let ns = bucket.latency.value_at_quantile(quantile);
                (bucket.delivered > 0).then(|| ns as f64 / 1e6)
            };
            used.iter().map(ms).collect()
        };
        TrafficOverTime {
            from_s: began_s + self.from_ns as f64 / 1e9,
            to_s: began_s + self.to_ns as f64 / 1e9,
            width_s: self.width_ns as f64 / 1e9,
            published: counts(|bucket| bucket.published),
            delivered: counts(|bucket| bucket.delivered),
            wrong: counts(|bucket| bucket.wrong),
            lost: counts(|bucket| bucket.lost),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_short_run_has_narrow_buckets() {
        let mut timeline = Timeline::default();
        timeline.restart(5_000 * MS);
        timeline.published(5_000 * MS, 3);
        timeline.delivered(5_001 * MS, MS);
        timeline.delivered(5_025 * MS, 4 * MS);
        timeline.wrong(5_025 * MS);
        let seen = timeline.over_time(1.0);
        assert_eq!((seen.from_s, seen.to_s, seen.width_s), (6.0, 6.025, 0.01));
        assert_eq!((seen.published, seen.delivered), (vec![3, 0, 0], vec![1, 0, 1]));
        assert_eq!(seen.wrong, [0, 0, 1]);
        assert_eq!(seen.p50_ms[1], None);
        assert!((seen.p99_ms[2].unwrap() - 4.0).abs() < 0.1);
    }

    #[test]
    fn a_long_run_keeps_every_count_in_few_buckets() {
        let mut timeline = Timeline::default();
        for second in 0..600 {
            timeline.delivered(second * 1_000 * MS, (second + 1) * MS);
            timeline.published(second * 1_000 * MS, 2);
            timeline.lost(second * 1_000 * MS);
        }
        let seen = timeline.over_time(0.0);
        assert_eq!(seen.width_s, 10.24);
        assert_eq!(seen.delivered.len(), 59);
        assert_eq!(seen.delivered.iter().sum::<u64>(), 600);
        assert_eq!(seen.published.iter().sum::<u64>(), 1_200);
        assert_eq!(seen.lost.iter().sum::<u64>(), 600);
        // The first bucket is of seconds 0 to 10, the last of 594 to 599.
        assert!((seen.max_ms[0].unwrap() - 11.0).abs() < 0.2);
        assert!((seen.max_ms[58].unwrap() - 600.0).abs() < 6.0);
    }
}
