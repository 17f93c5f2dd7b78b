//! What is shown: one line for each measurement, and the medians.

use std::fmt;

use super::{Pace, Received, Sent, What};

/// The figures of one measurement.
#[derive(Clone, Debug)]
pub(super) struct Row {
    case: (What, Pace),
    per_second: f64,
    owner_micros: f64,
    receiver_micros: f64,
    p50_ms: f64,
    p99_ms: f64,
    lost: u64,
    failed: u64,
}

impl Row {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn new(case: (What, Pace), sent: &Sent, received: &Received) -> Self {
        let events = sent.events.max(1) as f64;
        Self {
            case,
            per_second: events / sent.seconds,
            owner_micros: sent.cpu_micros / events,
            receiver_micros: received.cpu_micros / events,
            p50_ms: f64::from(received.p50_micros) / 1e3,
            p99_ms: f64::from(received.p99_micros) / 1e3,
            lost: sent.events.abs_diff(received.events),
            failed: sent.failed,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case: (what, pace), per_second, owner_micros, receiver_micros, .. } = self;
        let Self { p50_ms, p99_ms, lost, failed, .. } = self;
        write!(f, "{:<11}{:<10}", format!("{what:?}"), format!("{pace:?}"))?;
        write!(f, "{per_second:>10.0}/s, CPU {owner_micros:>6.2} µs owner, ")?;
        write!(f, "{receiver_micros:>6.2} µs receiver, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms")?;
        write!(f, ", {lost} not delivered, {failed} refused")
    }
}

/// The medians of every case.
pub(super) fn medians(rows: &[Row]) -> String {
    let mut cases: Vec<(What, Pace)> = Vec::new();
    for row in rows {
        if !cases.contains(&row.case) {
            cases.push(row.case);
        }
    }
    let lines = cases.into_iter().map(|case| {
        let of_case: Vec<&Row> = rows.iter().filter(|row| row.case == case).collect();
        let figure = |pick: fn(&Row) -> f64| {
            let mut values: Vec<f64> = of_case.iter().map(|row| pick(row)).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let row = Row {
            case,
            per_second: figure(|row| row.per_second),
            owner_micros: figure(|row| row.owner_micros),
            receiver_micros: figure(|row| row.receiver_micros),
            p50_ms: figure(|row| row.p50_ms),
            p99_ms: figure(|row| row.p99_ms),
            lost: of_case.iter().map(|row| row.lost).sum(),
            failed: of_case.iter().map(|row| row.failed).sum(),
        };
        row.to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}
