//! A report as a plain table: a row for each figure, a column for each server.

use super::{Figure, Report, Series};

/// Draws it. Behind the medians of several rounds stands how far they were apart.
pub(super) fn draw(report: &Report) -> String {
    let rounds = report.servers.first().map_or(0, |s| s.rounds.len());
    let mut rows = figures(&report.servers, &report.ratios);
    rows.extend(faults(&report.servers));
    let title = report.scenario.title();
    format!("{title}\n{rounds} round(s) each, medians (lowest–highest)\n\n{}", align(&rows))
}

/// A row of heads and one for each figure, with the ratios in a last column if there are any.
pub(crate) fn figures(servers: &[Series], ratios: &[Figure]) -> Vec<Vec<String>> {
    let mut heads = vec![String::new()];
    heads.extend(servers.iter().map(|series| series.server.clone()));
    if !ratios.is_empty() {
        heads.push("ratio".into());
    }
    let mut rows = vec![heads];
    let names = servers.iter().flat_map(|series| &series.medians);
    for Figure { name, .. } in names {
        if rows.iter().any(|row| row.first() == Some(name)) {
            continue;
        }
        let mut row = vec![name.clone()];
        row.extend(servers.iter().map(|series| cell(series, name)));
        if !ratios.is_empty() {
            let ratio = find(ratios, name);
            row.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
        }
        rows.push(row);
    }
    rows
}

/// A row for each kind of fault.
pub(crate) fn faults(servers: &[Series]) -> Vec<Vec<String>> {
    let all: Vec<_> = servers.iter().map(|series| series.faults).collect();
    let row = |name: &str, counts: Vec<u64>| {
        let counts = counts.iter().map(u64::to_string);
        std::iter::once(name.to_owned()).chain(counts).collect()
    };
    vec![
        row("lost", all.iter().map(|f| f.lost).collect()),
        row("duplicated", all.iter().map(|f| f.duplicated).collect()),
        row("reordered", all.iter().map(|f| f.reordered).collect()),
        row("strayed", all.iter().map(|f| f.strayed).collect()),
        row("closed by the server", all.iter().map(|f| f.closed).collect()),
        row("refused", all.iter().map(|f| f.refused).collect()),
    ]
}

fn cell(series: &Series, name: &str) -> String {
    let Some(median) = find(&series.medians, name) else {
        return String::new();
    };
    let values = || series.rounds.iter().filter_map(|r| find(&r.figures, name));
    let lowest = values().fold(f64::INFINITY, f64::min);
    let highest = values().fold(f64::NEG_INFINITY, f64::max);
    let median = number(median);
    match (number(lowest), number(highest)) {
        (lowest, highest) if lowest == highest => median,
        (lowest, highest) => format!("{median} ({lowest}–{highest})"),
    }
}

fn find(figures: &[Figure], name: &str) -> Option<f64> {
    let figure = figures.iter().find(|figure| figure.name == name)?;
    Some(figure.value)
}

/// Three digits, or all of a whole number's.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The first column to the left, the others to the right.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            line += &match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_more() {
        let shown = [12_345.6, 12.34, 1.234, 0.1234, 0.0].map(number);
        assert_eq!(shown, ["12346", "12.3", "1.23", "0.123", "0.000"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["", "bare"], vec!["µs", "1.00"], vec!["lost", "0"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(align(&rows), "      bare\nµs    1.00\nlost     0\n");
    }
}
