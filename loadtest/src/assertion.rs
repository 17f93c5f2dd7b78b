//! `--assert p99<50ms`: what a run has to hold, for a pipeline that is to fail when it does not.

use std::str::FromStr;

use crate::report::{Report, Series};

/// What can be asked about: a word, the beginning of the figure's name, and the unit in which the
/// figure is kept.
const FIGURES: &[(&str, &str, Unit)] = &[
    ("cpu", "server CPU, µs / ", Unit::Micros),
    ("p50", "latency p50", Unit::Millis),
    ("p90", "latency p90", Unit::Millis),
    ("p99", "latency p99", Unit::Millis),
    ("max", "latency max", Unit::Millis),
    ("rate", "deliveries / s", Unit::Count),
    ("memory", "memory / connection (PSS)", Unit::Bytes),
    ("private", "memory / connection (private)", Unit::Bytes),
    ("idle", "server CPU while idle", Unit::Percent),
    ("back", "all back after", Unit::Millis),
    ("connect", "connect p99", Unit::Millis),
    ("growth", "memory growth (private)", Unit::Percent),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Micros,
    Millis,
    Bytes,
    Percent,
    Count,
}

/// Units that may be written, and how many of the kept unit one of them is.
const UNITS: &[(&str, Unit, f64)] = &[
    ("us", Unit::Micros, 1.0),
    ("µs", Unit::Micros, 1.0),
    ("ms", Unit::Micros, 1e3),
    ("us", Unit::Millis, 1e-3),
    ("µs", Unit::Millis, 1e-3),
    ("ms", Unit::Millis, 1.0),
    ("s", Unit::Millis, 1e3),
    ("B", Unit::Bytes, 1.0),
    ("KiB", Unit::Bytes, 1024.0),
    ("MiB", Unit::Bytes, 1_048_576.0),
    ("%", Unit::Percent, 1.0),
];

/// A figure of a server, and what it has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    text: String,
    server: Option<String>,
    what: What,
    comparison: Comparison,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// By its place in [`FIGURES`].
    Figure(usize),
    Lost,
    Duplicated,
    Reordered,
    Closed,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtMost,
    Less,
    AtLeast,
    More,
    Equal,
}

/// The comparisons, the longer ones first.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = COMPARISONS.iter().find_map(|&(sign, comparison)| {
            text.split_once(sign).map(|(left, right)| (left.trim(), comparison, right.trim()))
        });
        let (left, comparison, right) = found.ok_or("a comparison is one of <= >= == < >")?;
        let (server, name) = match left.split_once(':') {
            Some((server, name)) => (Some(server.to_owned()), name),
            None => (None, left),
        };
        let what = What::parse(name)?;
        let limit = what.limit(right)?;
        Ok(Self { text: text.to_owned(), server, what, comparison, limit })
    }
}

impl What {
    fn parse(name: &str) -> Result<Self, String> {
        // `delivery.p99` is the long form of `p99`.
        let name = name.strip_prefix("delivery.").unwrap_or(name);
        let counts = [
            ("lost", Self::Lost),
            ("duplicated", Self::Duplicated),
            ("reordered", Self::Reordered),
            ("closed", Self::Closed),
            ("refused", Self::Refused),
        ];
        let count = counts.iter().find(|(word, _)| *word == name).map(|(_, what)| *what);
        let figure = || FIGURES.iter().position(|(word, ..)| *word == name).map(Self::Figure);
        count.or_else(figure).ok_or_else(|| {
            let words = FIGURES.iter().map(|(word, ..)| *word).chain(counts.map(|(word, _)| word));
            format!("`{name}` is none of {}", words.collect::<Vec<_>>().join(", "))
        })
    }

    fn limit(self, text: &str) -> Result<f64, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| format!("`{text}` begins with no number"))?;
        let kept = match self {
            Self::Figure(at) => FIGURES[at].2,
            _ => Unit::Count,
        };
        if unit.is_empty() {
            return Ok(number);
        }
        let known = UNITS.iter().find(|(word, of, _)| *word == unit.trim() && *of == kept);
        known
            .map(|(_, _, factor)| number * factor)
            .ok_or_else(|| format!("`{}` is no unit of this figure", unit.trim()))
    }

    #[allow(clippy::cast_precision_loss)]
    fn of(self, series: &Series) -> Option<f64> {
        let faults = &series.faults;
        match self {
            Self::Figure(at) => {
                let beginning = FIGURES[at].1;
                let found = series.medians.iter().find(|f| f.name.starts_with(beginning));
                found.map(|figure| figure.value)
            }
            Self::Lost => Some(faults.lost as f64),
            Self::Duplicated => Some(faults.duplicated as f64),
            Self::Reordered => Some(faults.reordered as f64),
            Self::Closed => Some(faults.closed as f64),
            Self::Refused => Some(faults.refused as f64),
        }
    }
}

impl Assertion {
    /// What does not hold of a report, each in a line. The bare server is only looked at by name, and a
    /// figure that is not there does not hold.
    #[must_use]
    pub fn failures(&self, report: &Report) -> Vec<String> {
        let is_meant = |series: &&Series| match &self.server {
            Some(server) => series.server == *server,
            None => series.server != "bare",
        };
        let meant: Vec<&Series> = report.servers.iter().filter(is_meant).collect();
        if meant.is_empty() {
            return vec![format!("{}: there is no such server in this run", self.text)];
        }
        let judge = |series: &&Series| match self.what.of(series) {
            Some(value) if self.comparison.holds(value, self.limit) => None,
            Some(value) => Some(format!("{}: {} has {value:.3}", self.text, series.server)),
            None => Some(format!("{}: {} has no such figure", self.text, series.server)),
        };
        meant.iter().filter_map(judge).collect()
    }
}

impl Comparison {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtMost => value <= limit,
            Self::Less => value < limit,
            Self::AtLeast => value >= limit,
            Self::More => value > limit,
            Self::Equal => (value - limit).abs() < f64::EPSILON,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Round;

    fn report() -> Report {
        let series = |server: &str, p99| {
            let mut round = Round::default();
            round.add("latency p99, ms", p99);
            round.add("memory / connection (private), bytes", 4_000.0);
            round.faults.lost = 1;
            Series::new(server.into(), vec![round])
        };
        let servers =
            vec![series("bare", 1.0), series("handbell", 40.0), series("handbell/sse", 60.0)];
        Report::of(servers)
    }

    fn failures(text: &str) -> Vec<String> {
        text.parse::<Assertion>().unwrap().failures(&report())
    }

    #[test]
    fn a_limit_holds_for_all_servers_but_the_bare_one_or_for_the_one_that_is_named() {
        assert_eq!(failures("p99<50ms"), ["p99<50ms: handbell/sse has 60.000"]);
        assert!(failures("handbell:delivery.p99<=40").is_empty());
        assert!(failures("p99 < 0.1s").is_empty());
        assert!(failures("private<4KiB").is_empty());
        assert_eq!(failures("private<3.9KiB").len(), 2);
        assert_eq!(failures("lost==0").len(), 2);
    }

    #[test]
    fn what_is_not_there_does_not_hold() {
        assert_eq!(failures("rate>1").len(), 2);
        assert_eq!(
            failures("soketi:p99<1s"),
            ["soketi:p99<1s: there is no such server in this run"]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, why) in [
            ("p99", "a comparison"),
            ("p98<1ms", "`p98` is none of"),
            ("p99<soon", "begins with no number"),
            ("p99<1KiB", "`KiB` is no unit"),
            ("lost==0ms", "`ms` is no unit"),
        ] {
            assert!(text.parse::<Assertion>().unwrap_err().contains(why), "{text}");
        }
    }
}
