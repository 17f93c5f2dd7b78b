//! `compare a.json b.json`: two runs side by side.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::html::{self, Page, Section};
use crate::report::table::{align, number};
use crate::report::{Figure, SCHEMA, Series, ratios};

/// The oldest format that is understood: it has figures and no recordings.
const SCHEMA_MIN: u32 = 1;

/// A report that was read.
#[derive(Debug, Deserialize)]
struct Run {
    schema: u32,
    command: Vec<String>,
    #[serde(default)]
    finished_at: u64,
    servers: Vec<Series>,
}

/// Two reports.
#[derive(Debug)]
pub struct Comparison {
    before: Run,
    after: Run,
}

impl Comparison {
    /// Reads both.
    ///
    /// # Errors
    /// If a file is no report of a format that is understood, or they have no server in common.
    pub fn read(one: &Path, other: &Path) -> anyhow::Result<Self> {
        let read = Self { before: read(one)?, after: read(other)? };
        ensure!(read.pairs().next().is_some(), "the two runs have no server in common");
        Ok(read)
    }

    /// Servers that both have.
    fn pairs(&self) -> impl Iterator<Item = (&Series, &Series)> {
        let after = &self.after.servers;
        let same = |one: &&Series| after.iter().find(|other| other.server == one.server);
        self.before.servers.iter().filter_map(move |one| Some((one, same(&one)?)))
    }

    /// The medians as a table for each server, with their quotients.
    #[must_use]
    pub fn table(&self) -> String {
        let (a, b) = (self.before.command.join(" "), self.after.command.join(" "));
        let tables = self.pairs().map(|(one, other)| format!("\n{}", align(&rows(one, other))));
        format!("a: {a}\nb: {b}\n{}", tables.collect::<String>())
    }

    /// The same with pictures.
    #[must_use]
    pub fn page(&self) -> Page {
        let fact = |name: &str, run: &Run| {
            let command = run.command.join(" ");
            match run.finished_at {
                0 => (name.to_owned(), command),
                at => (name.to_owned(), format!("{command}, finished {}", html::date(at))),
            }
        };
        let section = |(one, other): (&Series, &Series)| Section {
            heading: one.server.clone(),
            ratios: ratios(&one.medians, &other.medians),
            series: vec![
                Series { server: "a".into(), ..one.clone() },
                Series { server: "b".into(), ..other.clone() },
            ],
        };
        Page {
            title: "Two load tests side by side".into(),
            facts: vec![fact("a", &self.before), fact("b", &self.after)],
            failures: Vec::new(),
            sections: self.pairs().map(section).collect(),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Run> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let run: Run = serde_json::from_str(&text)
        .with_context(|| format!("{} is no report of this program", path.display()))?;
    let schema = run.schema;
    let is_known = (SCHEMA_MIN..=SCHEMA).contains(&schema);
    ensure!(is_known, "{} has schema {schema}, not {SCHEMA_MIN} to {SCHEMA}", path.display());
    Ok(run)
}

fn rows(before: &Series, after: &Series) -> Vec<Vec<String>> {
    let head = [before.server.as_str(), "a", "b", "b / a"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for Figure { name, value } in &before.medians {
        let Some(other) = after.medians.iter().find(|figure| figure.name == *name) else {
            continue;
        };
        let ratio =
            if *value == 0.0 { String::new() } else { format!("{:.2}", other.value / value) };
        rows.push(vec![name.clone(), number(*value), number(other.value), ratio]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, Round, write_json};

    fn report(server: &str, value: f64) -> Report {
        let mut round = Round::default();
        round.add("latency p99, ms", value);
        Report::of(vec![Series::new(server.into(), vec![round])])
    }

    #[test]
    fn two_reports_are_compared_where_they_have_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_json(&report("handbell", 10.0), &at("a.json")).unwrap();
        write_json(&report("handbell", 15.0), &at("b.json")).unwrap();
        write_json(&report("soketi", 15.0), &at("c.json")).unwrap();
        let both = Comparison::read(&at("a.json"), &at("b.json")).unwrap();
        let shown = both.table();
        assert!(shown.contains("latency p99, ms  10.0  15.0   1.50"), "{shown}");
        let page = both.page().draw();
        let row = "<tr><th>latency p99, ms</th><td>10.0</td><td>15.0</td><td>1.50</td></tr>";
        assert!(page.contains(row) && page.contains("<h2>handbell</h2>"), "{page}");
        let refused = |name: &str| Comparison::read(&at("a.json"), &at(name)).unwrap_err();
        assert!(refused("c.json").to_string().contains("no server in common"));
        fs::write(at("b.json"), "{}").unwrap();
        assert!(refused("b.json").to_string().contains("no report"));
    }

    #[test]
    fn reports_without_recordings_are_still_read_and_later_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.json");
        // As schema 1 had it.
        let old = |schema: u32| {
            format!(
                r#"{{"schema":{schema},"version":"0.1.0","command":["handbell-loadtest"],
                "machine":{{"cpus":2,"kernel":"6.18"}},"scenario":{{"name":"idle"}},"servers":[
                {{"server":"bare","medians":[{{"name":"x","value":2.0}}],
                "faults":{{"lost":0,"duplicated":0,"reordered":0,"strayed":0,"closed":0}},
                "rounds":[{{"figures":[{{"name":"x","value":2.0}}],
                "faults":{{"lost":0,"duplicated":0,"reordered":0,"strayed":0,"closed":0}}}}]}}],
                "ratios":[]}}"#
            )
        };
        fs::write(&path, old(1)).unwrap();
        let both = Comparison::read(&path, &path).unwrap();
        assert!(both.table().contains("x     2.00  2.00   1.00"), "{}", both.table());
        assert!(!both.page().draw().contains("<svg"));
        fs::write(&path, old(SCHEMA + 1)).unwrap();
        let error = Comparison::read(&path, &path).unwrap_err().to_string();
        assert!(error.contains("has schema 3, not 1 to 2"), "{error}");
    }
}
