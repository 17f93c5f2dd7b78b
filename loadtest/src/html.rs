//! `--html FILE`: a report as one page that needs nothing else: no script, no font, no picture from
//! anywhere. Everything that comes from a command line or a file is escaped.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::checker::Faults;
use crate::report::{Figure, Report, Series, table};

mod chart;
mod pictures;
mod scale;
mod text;

use text::escape;

/// Colours of lines; with more servers they come again.
const COLOURS: usize = 6;
const STYLE: &str = include_str!("html/page.css");
const TAKES: &str = "a String takes everything";

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its heading.
    pub title: String,
    /// What is worth knowing beside the figures: a name and a text each.
    pub facts: Vec<(String, String)>,
    /// What was asserted and does not hold.
    pub failures: Vec<String>,
    /// Servers that are compared with each other, in a part of the page each.
    pub sections: Vec<Section>,
}

/// A table and pictures.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its heading, if it needs one.
    pub heading: String,
    /// The columns.
    pub series: Vec<Series>,
    /// A last column.
    pub ratios: Vec<Figure>,
}

impl Page {
    /// A page of one run.
    #[must_use]
    pub fn of(report: &Report, failures: Vec<String>) -> Self {
        let machine = &report.machine;
        let rounds = report.servers.first().map_or(0, |series| series.rounds.len());
        let fact = |name: &str, text: String| (name.to_owned(), text);
        let section = Section {
            heading: String::new(),
            series: report.servers.clone(),
            ratios: report.ratios.clone(),
        };
        Self {
            title: report.scenario.title(),
            facts: vec![
                fact("Command", report.command.join(" ")),
                fact("Finished", date(report.finished_at)),
                fact("Machine", format!("{} cores, Linux {}", machine.cpus, machine.kernel)),
                fact("Version", format!("handbell-loadtest {}", report.version)),
                fact("Rounds", format!("{rounds} each; medians, and the lowest and highest")),
            ],
            failures,
            sections: vec![section],
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        fs::write(path, self.draw()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The page's text.
    #[must_use]
    pub fn draw(&self) -> String {
        let title = escape(&self.title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        out += &self.verdict();
        out += "<dl>\n";
        for (name, text) in &self.facts {
            writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text)).expect(TAKES);
        }
        out += "</dl>\n";
        self.sections.iter().for_each(|section| section.draw(&mut out));
        out += "</body>\n</html>\n";
        out
    }

    fn verdict(&self) -> String {
        let series = self.sections.iter().flat_map(|section| &section.series);
        let faults = series.fold(Faults::default(), |sum, series| sum.plus(series.faults));
        let mut out = if faults.is_clean() {
            let text =
                "Every delivery came once and in order, and no connection was closed or refused.";
            format!("<p class=\"verdict good\">{text}</p>\n")
        } else {
            let Faults { lost, duplicated, reordered, strayed, closed, refused } = faults;
            format!(
                "<p class=\"verdict bad\">{lost} lost, {duplicated} duplicated, {reordered} reordered, \
                 {strayed} strayed, {closed} closed by the server, {refused} refused.</p>\n"
            )
        };
        for failure in &self.failures {
            writeln!(out, "<p class=\"verdict bad\">Does not hold: {}</p>", escape(failure))
                .expect(TAKES);
        }
        out
    }
}

impl Section {
    fn draw(&self, out: &mut String) {
        if !self.heading.is_empty() {
            writeln!(out, "<h2>{}</h2>", escape(&self.heading)).expect(TAKES);
        }
        out.push_str("<div class=\"wide\"><table>\n");
        for (number, row) in table::figures(&self.series, &self.ratios).iter().enumerate() {
            match number {
                0 => writeln!(out, "<thead>{}</thead>\n<tbody>", cells(row, |_| "th")),
                _ => writeln!(out, "{}", cells(row, |_| "td")),
            }
            .expect(TAKES);
        }
        for mut row in table::faults(&self.series) {
            row.extend((!self.ratios.is_empty()).then(String::new));
            let kind = |text: &str| match text {
                "0" | "" => "td",
                _ => "td class=\"bad\"",
            };
            writeln!(out, "{}", cells(&row, kind)).expect(TAKES);
        }
        out.push_str("</tbody>\n</table></div>\n<div class=\"pictures\">\n");
        out.push_str(&pictures::draw(&self.series));
        out.push_str("</div>\n");
    }
}

/// A row of a table, whose first cell names it.
fn cells(row: &[String], tag: impl Fn(&str) -> &'static str) -> String {
    let mut out = "<tr>".to_owned();
    for (column, text) in row.iter().enumerate() {
        let tag = if column == 0 { "th" } else { tag(text) };
        let end = tag.split(' ').next().unwrap_or(tag);
        write!(out, "<{tag}>{}</{end}>", escape(text)).expect(TAKES);
    }
    out + "</tr>"
}

/// A date and time (UTC) for people.
#[must_use]
pub fn date(unix_seconds: u64) -> String {
    let time = i64::try_from(unix_seconds).ok();
    let time = time.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
