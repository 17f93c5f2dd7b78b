//! What a whole run came to: a line for each schedule, a table at the end, and the same as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::act::Outcome;
use super::judge::verdict::{Fault, Verdict};
use crate::report::table::{align, number};
use crate::report::{Figure, Machine, median};

/// The sums that the table always shows.
const COLUMNS: [(&str, &[Fault]); 9] = [
    ("lost", &[Fault::Lost]),
    ("duplicated", &[Fault::Duplicated]),
    ("reordered", &[Fault::Reordered]),
    ("gaps", &[Fault::Gap]),
    ("ghosts", &[Fault::Ghost]),
    ("missing", &[Fault::Missing]),
    ("hung", &[Fault::Hung]),
    ("downgraded", &[Fault::Downgraded]),
    ("webhooks wrong", &[Fault::WebhookRepeated, Fault::WebhookWrong]),
];

/// Everything, as it is written as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    schema: u32,
    version: &'static str,
    command: Vec<String>,
    machine: Machine,
    nodes: usize,
    run: usize,
    not_run: usize,
    totals: Verdict,
    failovers: usize,
    failover_p50_ms: f64,
    failover_p99_ms: f64,
    /// Lowest, median and highest of everything that was measured.
    figures: BTreeMap<String, (f64, f64, f64)>,
    webhooks: Hooks,
    schedules: Vec<Outcome>,
}

/// What came by webhook.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Hooks {
    pub received: u64,
    pub repeated: u64,
    pub told_by_both_sides: u64,
    pub without_id: u64,
}

impl Summary {
    pub(super) fn new(nodes: usize, schedules: Vec<Outcome>, hooks: (Hooks, &Verdict)) -> Self {
        let (webhooks, end) = hooks;
        let mut totals = Verdict::default();
        totals.absorb(end);
        totals.examples.extend(end.examples.iter().cloned());
        let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut failovers: Vec<f64> = Vec::new();
        for outcome in &schedules {
            totals.absorb(&outcome.verdict);
            failovers.extend(&outcome.failovers_ms);
            for Figure { name, value } in &outcome.figures {
                figures.entry(name.clone()).or_default().push(*value);
            }
        }
        failovers.sort_by(f64::total_cmp);
        let spread = |(name, values): (String, Vec<f64>)| {
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (name, (lowest, median(values), highest))
        };
        let not_run = schedules.iter().filter(|outcome| outcome.not_run.is_some()).count();
        Self {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            machine: Machine::this(),
            nodes,
            run: schedules.len() - not_run,
            not_run,
            totals,
            failovers: failovers.len(),
            failover_p50_ms: quantile(&failovers, 50),
            failover_p99_ms: quantile(&failovers, 99),
            figures: figures.into_iter().map(spread).collect(),
            webhooks,
            schedules,
        }
    }

    /// Whether everything ran and nothing happened that may not.
    pub(super) fn is_clean(&self) -> bool {
        self.totals.is_clean() && self.not_run == 0 && self.run > 0
    }

    /// As a table for people.
    pub(super) fn table(&self) -> String {
        let totals = &self.totals;
        let mut rows = vec![
            vec!["schedules run".into(), self.run.to_string()],
            vec!["schedules not run".into(), self.not_run.to_string()],
            vec!["acknowledged".into(), totals.acknowledged.to_string()],
            vec!["delivered".into(), totals.delivered.to_string()],
        ];
        for (name, faults) in COLUMNS {
            let count: u64 = faults.iter().map(|&fault| totals.count(fault)).sum();
            rows.push(vec![name.into(), count.to_string()]);
        }
        let shown = |fault: &Fault| COLUMNS.iter().any(|(_, faults)| faults.contains(fault));
        for (fault, count) in totals.faults.iter().filter(|(fault, _)| !shown(fault)) {
            rows.push(vec![format!("{fault:?}").to_lowercase(), count.to_string()]);
        }
        rows.push(vec!["gaps allowed behind a cut".into(), totals.allowed_gaps.to_string()]);
        let alone = totals.allowed_downgrades.to_string();
        rows.push(vec!["sequenced only, by a node that could be alone".into(), alone]);
        rows.push(vec!["failed without a key".into(), totals.unkeyed_failed.to_string()]);
        if self.failovers > 0 {
            let (p50, p99) = (number(self.failover_p50_ms), number(self.failover_p99_ms));
            let text = format!("{p50} / {p99} ({} channels)", self.failovers);
            rows.push(vec!["failover p50 / p99, ms".into(), text]);
        }
        for (name, (lowest, median, highest)) in &self.figures {
            let [low, median, high] = [lowest, median, highest].map(|&value| number(value));
            rows.push(vec![name.clone(), format!("{median} ({low}–{high})")]);
        }
        let Hooks { received, repeated, told_by_both_sides, without_id } = self.webhooks;
        let lists = format!(
            "failed attempts: {}\nclosed by the server: {}\nwebhooks: {received}, \
             {repeated} repeated, {told_by_both_sides} told by both sides of a cut, \
             {without_id} without id",
            list(&totals.failures),
            list(&totals.codes),
        );
        let n = self.run;
        // The rule of three: what did not happen in n schedules happens in less than 3 / n of them.
        #[allow(clippy::cast_precision_loss)]
        let bound = 300.0 / n.max(1) as f64;
        let end = if self.is_clean() {
            format!("clean; with 95 % confidence, less than {bound:.1} % of schedules are not")
        } else {
            "NOT CLEAN".into()
        };
        format!("{}{lists}\n{end}", align(&rows))
    }
}

/// One line.
pub(super) fn line(number: usize, outcome: &Outcome) -> String {
    let Outcome { schedule, not_run, seen, verdict, failovers_ms, .. } = outcome;
    let state = match not_run {
        Some(why) => format!("NOT RUN ({why})"),
        None if verdict.is_clean() => "ok".into(),
        None => "FAILED".into(),
    };
    let failovers: Vec<String> = failovers_ms.iter().map(|ms| format!("{ms:.0}")).collect();
    let failover = match failovers.is_empty() {
        true => String::new(),
        false => format!(", failover {} ms", failovers.join(" ")),
    };
    let faults: Vec<String> =
        verdict.faults.iter().map(|(fault, count)| format!(", {count} {fault:?}")).collect();
    format!(
        "{number:>4} seed {:<6} {schedule}: {state}; {} acknowledged, {} delivered{failover}{} [{}]",
        schedule.seed,
        verdict.acknowledged,
        verdict.delivered,
        faults.concat(),
        seen.join("; ")
    )
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if counts.is_empty() { "0".into() } else { counts.join(", ") }
}

/// The value below which so many of a hundred lie, of sorted values.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{Kind, Schedule};
    use super::*;

    fn outcome(not_run: Option<&str>, verdict: Verdict) -> Outcome {
        Outcome {
            schedule: Schedule::draw(1, 3, &[Kind::Kill]),
            not_run: not_run.map(str::to_owned),
            seen: vec!["node-1 gone".into()],
            verdict,
            failovers_ms: vec![120.0, 80.0],
            figures: vec![Figure { name: "noticed after, ms".into(), value: 7.0 }],
        }
    }

    #[test]
    fn a_run_is_clean_if_everything_ran_and_nothing_happened() {
        let (hooks, clean) = (Hooks::default(), Verdict::default());
        let mut bad = Verdict::default();
        bad.add(Fault::Lost, 2, || "example".into());
        let summary = |outcomes| Summary::new(3, outcomes, (hooks, &clean));
        assert!(summary(vec![outcome(None, Verdict::default())]).is_clean());
        assert!(!summary(vec![outcome(Some("nobody saw it"), Verdict::default())]).is_clean());
        assert!(!summary(vec![outcome(None, bad.clone())]).is_clean());
        assert!(!summary(Vec::new()).is_clean());
        assert!(!Summary::new(3, vec![outcome(None, clean.clone())], (hooks, &bad)).is_clean());
        let table = summary(vec![outcome(None, bad.clone())]).table();
        assert!(table.contains("80.0 / 120 (2 channels)"), "{table}");
        assert!(table.contains("NOT CLEAN"));
        assert!(line(1, &outcome(None, bad)).contains("FAILED; 0 acknowledged"));
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let found = [50, 99].map(|percent| quantile(&values, percent));
        assert!(found == [50.0, 99.0] && quantile(&[], 50) == 0.0);
    }
}
