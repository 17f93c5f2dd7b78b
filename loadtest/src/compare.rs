//! `compare a.json b.json`: two runs side by side.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::report::table::{align, number};

/// The format that is understood.
const SCHEMA: u32 = 1;

#[derive(Debug, Deserialize)]
struct Run {
    schema: u32,
    command: Vec<String>,
    servers: Vec<Server>,
}

#[derive(Debug, Deserialize)]
struct Server {
    server: String,
    medians: Vec<Figure>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    name: String,
    value: f64,
}

/// The medians of two reports as a table, with their quotients.
///
/// # Errors
/// If a file is no report of this format, or they have no server in common.
pub fn compare(one: &Path, other: &Path) -> anyhow::Result<String> {
    let (before, after) = (read(one)?, read(other)?);
    let mut out = format!("a: {}\nb: {}\n", before.command.join(" "), after.command.join(" "));
    let mut is_any = false;
    for server in &before.servers {
        let Some(same) = after.servers.iter().find(|other| other.server == server.server) else {
            continue;
        };
        is_any = true;
        out.push('\n');
        out += &align(&rows(server, same));
    }
    ensure!(is_any, "the two runs have no server in common");
    Ok(out)
}

fn read(path: &Path) -> anyhow::Result<Run> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let run: Run = serde_json::from_str(&text)
        .with_context(|| format!("{} is no report of this program", path.display()))?;
    let schema = run.schema;
    ensure!(schema == SCHEMA, "{} has schema {schema}, not {SCHEMA}", path.display());
    Ok(run)
}

fn rows(before: &Server, after: &Server) -> Vec<Vec<String>> {
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
    use crate::report::{Report, Round, Series, write_json};

    fn written(folder: &Path, name: &str, server: &str, value: f64) -> std::path::PathBuf {
        let mut round = Round::default();
        round.add("latency p99, ms", value);
        let report = Report::of(vec![Series::new(server.into(), vec![round])]);
        let path = folder.join(name);
        write_json(&report, &path).unwrap();
        path
    }

    #[test]
    fn two_reports_are_compared_where_they_have_the_same() {
        let folder = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let a = written(&folder, "a.json", "handbell", 10.0);
        let b = written(&folder, "b.json", "handbell", 15.0);
        let c = written(&folder, "c.json", "soketi", 15.0);
        let shown = compare(&a, &b).unwrap();
        assert!(shown.contains("latency p99, ms  10.0  15.0   1.50"), "{shown}");
        assert!(compare(&a, &c).unwrap_err().to_string().contains("no server in common"));
        fs::write(&b, "{}").unwrap();
        assert!(compare(&a, &b).unwrap_err().to_string().contains("no report"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
