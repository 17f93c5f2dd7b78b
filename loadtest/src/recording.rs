//! What is recorded of a round beside its figures, for pictures: percentiles of the latency, and what
//! happened when. Bounded, however long the round is. Reports carry it from schema 2 on.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Everything of one round. Times are seconds since it began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recording {
    /// Shares of all deliveries, from 0 to 1, and the latency in ms that they do not exceed.
    pub percentiles: Vec<(f64, f64)>,
    /// As the clients saw it, without the warm-up.
    pub traffic: TrafficOverTime,
    /// How connections came: begun, subscribed, and how long that took. Only of scenarios in which they
    /// come all the time.
    pub arrivals: TrafficOverTime,
    /// As the kernel saw it, from the first connection on.
    pub server: ServerOverTime,
}

/// What the clients saw, in buckets of equal width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficOverTime {
    /// When the first bucket begins.
    pub from_s: f64,
    /// When the last event was published or arrived: the last bucket may not have been filled.
    pub to_s: f64,
    /// How long each of them is.
    pub width_s: f64,
    /// Events whose request was begun.
    pub published: Vec<u64>,
    /// Deliveries.
    pub delivered: Vec<u64>,
    /// What came twice, late or astray, and connections that the server closed.
    pub wrong: Vec<u64>,
    /// Deliveries that never came, by when their event was published.
    pub lost: Vec<u64>,
    /// Half of a bucket's deliveries took at most so long; nothing where there was none.
    pub p50_ms: Vec<Option<f64>>,
    /// The same of 99 %.
    pub p99_ms: Vec<Option<f64>>,
    /// The longest.
    pub max_ms: Vec<Option<f64>>,
}

/// What the server's process used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerOverTime {
    /// When it was looked at.
    pub at_s: Vec<f64>,
    /// CPU since the last look, in percent of a core; nothing at the first.
    pub cpu_percent: Vec<Option<f64>>,
    /// Resident memory that is neither shared nor a part of a file, in MiB.
    pub memory_mib: Vec<f64>,
}

/// Points of a percentile curve for each nine: 0 %, 90 %, 99 % and so on are among them.
const POINTS_PER_NINE: u32 = 8;
/// Nines at most: a run has no more than some hundred million deliveries.
const NINES: u32 = 8;

/// The curve, as far out as there are deliveries to tell of; its last point is the longest.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn percentiles(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    if latency.is_empty() {
        return Vec::new();
    }
    let rarest = 1.0 / latency.len() as f64;
    let ms = |share: f64| latency.value_at_quantile(share) as f64 / 1e6;
    let shares = (0..=NINES * POINTS_PER_NINE)
        .map(|point| 10f64.powf(-f64::from(point) / f64::from(POINTS_PER_NINE)))
        .take_while(|rest| *rest >= rarest)
        .map(|rest| 1.0 - rest);
    let mut curve: Vec<_> = shares.map(|share| (share, ms(share))).collect();
    curve.push((1.0, latency.max() as f64 / 1e6));
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_where_deliveries_do() {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        assert_eq!(percentiles(&latency), []);
        for ms in 1..=1_000 {
            latency.record(ms * 1_000_000).unwrap();
        }
        let curve = percentiles(&latency);
        // Three nines, the ends included, and the longest.
        assert_eq!(curve.len(), 3 * 8 + 2);
        let near = |point: (f64, f64), share: f64, ms: f64| {
            (point.0 - share).abs() < 1e-9 && (point.1 - ms).abs() < ms / 500.0
        };
        assert!(near(curve[8], 0.9, 900.0), "{:?}", curve[8]);
        assert!(near(curve[16], 0.99, 990.0), "{:?}", curve[16]);
        assert!(near(curve[25], 1.0, 1_000.0), "{:?}", curve[25]);
    }
}
