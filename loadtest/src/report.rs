//! What was measured: figures of every round, their medians, and the ratio between two servers.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::checker::Faults;
use crate::dialect::unix_seconds;
use crate::recording::Recording;
use crate::scenario::Scenario;

pub(crate) mod table;

/// The format in which reports are written. 2 has recordings.
pub const SCHEMA: u32 = 2;

/// A named number; the name says the unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, and in what.
    pub name: String,
    /// How much of it.
    pub value: f64,
}

/// What one run against one server gave.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// In the order in which they are shown.
    pub figures: Vec<Figure>,
    /// What went wrong.
    pub faults: Faults,
    /// What happened when. Empty in reports of schema 1.
    #[serde(default)]
    pub recording: Recording,
}

impl Round {
    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: f64) {
        let name = name.to_owned();
        self.figures.push(Figure { name, value });
    }

    /// Adds how many there were of something.
    #[allow(clippy::cast_precision_loss)] // Nobody counts to 2^53.
    pub fn add_count(&mut self, name: &str, count: u64) {
        self.add(name, count as f64);
    }
}

/// All rounds of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// Which, and by which door.
    pub server: String,
    /// The median of each figure.
    pub medians: Vec<Figure>,
    /// The sum over all rounds.
    pub faults: Faults,
    /// One by one.
    pub rounds: Vec<Round>,
}

impl Series {
    /// Sums rounds up.
    #[must_use]
    pub fn new(server: String, rounds: Vec<Round>) -> Self {
        let names = rounds.first().map(|round| &round.figures[..]);
        let medians = names
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(|(index, figure)| Figure {
                name: figure.name.clone(),
                value: median(rounds.iter().map(|r| r.figures[index].value).collect()),
            })
            .collect();
        let faults = rounds.iter().fold(Faults::default(), |sum, round| sum.plus(round.faults));
        Self { server, medians, faults, rounds }
    }
}

/// The machine that it was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores that the load test may use.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let uname = rustix::system::uname();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: uname.release().to_string_lossy().into_owned(),
        }
    }
}

/// Everything, as it is written as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of this format.
    pub schema: u32,
    /// The program's version.
    pub version: &'static str,
    /// When it was put together, in seconds since 1970.
    pub finished_at: u64,
    /// The command line.
    pub command: Vec<String>,
    /// Where.
    pub machine: Machine,
    /// What.
    pub scenario: Scenario,
    /// In the order in which they took turns.
    pub servers: Vec<Series>,
    /// The last server's medians divided by the first one's, if there are two.
    pub ratios: Vec<Figure>,
}

impl Report {
    /// Puts it together.
    #[must_use]
    pub fn new(machine: Machine, scenario: Scenario, servers: Vec<Series>) -> Self {
        let ratios = match &servers[..] {
            [base, other] => ratios(&base.medians, &other.medians),
            _ => Vec::new(),
        };
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            finished_at: unix_seconds(),
            command: std::env::args().collect(),
            machine,
            scenario,
            servers,
            ratios,
        }
    }

    /// One of servers alone, for tests.
    #[cfg(test)]
    pub(crate) fn of(servers: Vec<Series>) -> Self {
        use crate::scenario::publish::Publish;
        use clap::Parser;

        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            publish: Publish,
        }
        let publish = Cli::parse_from(["publish"]).publish;
        Self::new(Machine::this(), Scenario::Publish(publish), servers)
    }

    /// Whether every delivery of every server went right.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.servers.iter().all(|series| series.faults.is_clean())
    }

    /// As a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        table::draw(self)
    }

    /// Writes it as JSON; `-` is standard output.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_json(self, path)
    }
}

/// Writes something as JSON; `-` is standard output.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(what: &impl Serialize, path: &Path) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(what)?;
    text.push('\n');
    let written = if path.as_os_str() == "-" {
        io::stdout().write_all(text.as_bytes())
    } else {
        File::create(path).and_then(|mut file| file.write_all(text.as_bytes()))
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.get((values.len().max(1) - 1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

/// The quotients of figures that both have and of which the first is not zero.
pub(crate) fn ratios(base: &[Figure], other: &[Figure]) -> Vec<Figure> {
    let ratio = |figure: &Figure| {
        let base = base.iter().find(|base| base.name == figure.name)?;
        (base.value != 0.0)
            .then(|| Figure { name: figure.name.clone(), value: figure.value / base.value })
    };
    other.iter().filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (vec![], 0.0),
            (vec![3.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 9.0], 3.0),
        ] {
            assert!((median(values) - expected).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn ratios_leave_out_what_cannot_be_divided() {
        let figure = |name: &str, value| Figure { name: name.into(), value };
        let base = [figure("a", 2.0), figure("zero", 0.0)];
        let other = [figure("a", 3.0), figure("zero", 1.0), figure("new", 1.0)];
        assert_eq!(ratios(&base, &other), [figure("a", 1.5)]);
    }

    #[test]
    fn a_series_takes_the_median_of_figures_and_the_sum_of_faults() {
        let round = |value, lost| {
            let mut round = Round::default();
            round.add("x", value);
            round.faults.lost = lost;
            round
        };
        let rounds = vec![round(1.0, 0), round(5.0, 2), round(2.0, 1)];
        let series = Series::new("bare".into(), rounds);
        assert!((series.medians[0].value - 2.0).abs() < f64::EPSILON);
        assert_eq!(series.faults.lost, 3);
    }
}
