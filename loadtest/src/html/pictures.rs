//! Which pictures are drawn of the rounds of some servers.

use crate::recording::{Recording, TrafficOverTime};
use crate::report::{Round, Series};

use super::chart::{Axis, Chart, Line};
use super::scale::Scale;

/// What pictures over time say of the round that they show.
const MIDDLE: &str = "The round whose first figure is nearest to the median.";

/// All pictures that there are points for.
pub(super) fn draw(series: &[Series]) -> String {
    let rounds: Vec<(&str, &Recording)> = series
        .iter()
        .filter_map(|series| Some((series.server.as_str(), &middle(series)?.recording)))
        .collect();
    let timelines = [
        latency(&rounds),
        throughput(&rounds),
        publishes(&rounds),
        connections(&rounds),
        waiting(&rounds),
        cpu(&rounds),
        memory(&rounds),
        errors(&rounds),
    ];
    // All over the same time, so that what happens in one can be found in the others.
    let lines = timelines.iter().flat_map(|chart| &chart.lines);
    let scale = Scale::span(lines.flat_map(|line| line.points.iter().map(|(x, _)| *x)));
    let timelines = timelines.into_iter().map(|mut chart| {
        chart.x.scale = scale;
        chart
    });
    std::iter::once(percentiles(series)).chain(timelines).map(|chart| chart.draw()).collect()
}

/// The round that stands for the others.
fn middle(series: &Series) -> Option<&Round> {
    let median = series.medians.first()?.value;
    let distance = |round: &&Round| {
        round.figures.first().map_or(f64::INFINITY, |figure| (figure.value - median).abs())
    };
    series.rounds.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

fn percentiles(series: &[Series]) -> Chart {
    let mut lines = Vec::new();
    for (colour, series) in series.iter().enumerate() {
        for (number, round) in series.rounds.iter().enumerate() {
            // The last point is the longest of all, at no place of an axis of nines.
            let curve = &round.recording.percentiles;
            let inner = &curve[..curve.len().saturating_sub(1)];
            let points = inner.iter().map(|&(share, ms)| (share, Some(ms))).collect();
            let label = match series.rounds.len() {
                1 => series.server.clone(),
                _ => format!("{}, round {}", series.server, number + 1),
            };
            lines.push(Line { label, colour, is_dashed: number > 0, points });
        }
    }
    let highest = xs(&lines).fold(0.0, f64::max);
    Chart {
        title: "Latency by percentile".into(),
        note: "From the first byte of the request, or from when it was due, to the read that \
               returned the event: so many of all deliveries took at most so long. All rounds, the \
               later ones dashed."
            .into(),
        x: Axis { label: "share of deliveries".into(), scale: Scale::nines(highest) },
        y: Axis { label: "latency, ms".into(), scale: Scale::log(ys(&lines)) },
        lines,
    }
}

fn latency(rounds: &[(&str, &Recording)]) -> Chart {
    let lines = latencies(rounds, |recording| &recording.traffic);
    let y = Axis { label: "latency, ms".into(), scale: Scale::log(ys(&lines)) };
    over_time("Latency over time", MIDDLE, y, lines)
}

fn throughput(rounds: &[(&str, &Recording)]) -> Chart {
    let lines = rates(rounds, |recording| (&recording.traffic, &recording.traffic.delivered));
    let y = Axis { label: "deliveries a second".into(), scale: Scale::linear(ys(&lines)) };
    over_time("Throughput over time", MIDDLE, y, lines)
}

fn publishes(rounds: &[(&str, &Recording)]) -> Chart {
    let lines = rates(rounds, |recording| (&recording.traffic, &recording.traffic.published));
    let y = Axis { label: "events a second".into(), scale: Scale::linear(ys(&lines)) };
    over_time("Publishes over time", MIDDLE, y, lines)
}

fn connections(rounds: &[(&str, &Recording)]) -> Chart {
    let lines = rates(rounds, |recording| (&recording.arrivals, &recording.arrivals.delivered));
    let y = Axis { label: "connections a second".into(), scale: Scale::linear(ys(&lines)) };
    over_time(
        "Connections that came over time",
        "Connected and subscribed. The same round.",
        y,
        lines,
    )
}

fn waiting(rounds: &[(&str, &Recording)]) -> Chart {
    let lines = latencies(rounds, |recording| &recording.arrivals);
    let y = Axis { label: "time to be subscribed, ms".into(), scale: Scale::log(ys(&lines)) };
    let note =
        "From when a connection was due until it was subscribed, by the latter. The same round.";
    over_time("Time to connect and subscribe over time", note, y, lines)
}

/// A line of the p99 and one of the median for each server.
fn latencies(
    rounds: &[(&str, &Recording)],
    part: impl Fn(&Recording) -> &TrafficOverTime,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (colour, (server, recording)) in rounds.iter().enumerate() {
        let part = part(recording);
        for (name, values, is_dashed) in [("p99", &part.p99_ms, false), ("p50", &part.p50_ms, true)]
        {
            let points = ends(part).zip(values.iter().copied()).collect();
            let label = format!("{server} {name}");
            lines.push(Line { label, colour, is_dashed, points });
        }
    }
    lines
}

/// Counts of each bucket as rates.
fn rates(
    rounds: &[(&str, &Recording)],
    part: impl Fn(&Recording) -> (&TrafficOverTime, &Vec<u64>),
) -> Vec<Line> {
    let line = |(colour, (server, recording)): (usize, &(&str, &Recording))| {
        let (traffic, counts) = part(recording);
        let rate = |(end, count): (f64, &u64)| {
            // The last bucket was not filled; with little of it a rate would say anything.
            let time = traffic.to_s.min(end) - (end - traffic.width_s);
            #[allow(clippy::cast_precision_loss)]
            let rate = (time >= traffic.width_s / 2.0).then(|| *count as f64 / time);
            (end, rate)
        };
        let points = ends(traffic).zip(counts).map(rate).collect();
        Line { label: (*server).to_owned(), colour, is_dashed: false, points }
    };
    rounds.iter().enumerate().map(line).collect()
}

fn cpu(rounds: &[(&str, &Recording)]) -> Chart {
    let lines = of_server(rounds, |recording| recording.server.cpu_percent.clone());
    let y = Axis { label: "CPU, % of a core".into(), scale: Scale::linear(ys(&lines)) };
    let note = "User and system time of the server's process, from the first connection on. The same \
                round.";
    over_time("Server CPU over time", note, y, lines)
}

fn memory(rounds: &[(&str, &Recording)]) -> Chart {
    let memory =
        |recording: &Recording| recording.server.memory_mib.iter().copied().map(Some).collect();
    let lines = of_server(rounds, memory);
    let y = Axis { label: "memory, MiB".into(), scale: Scale::linear(ys(&lines)) };
    let note = "What is resident of the server's process and neither shared nor a part of a file. The same round.";
    over_time("Server memory over time", note, y, lines)
}

fn errors(rounds: &[(&str, &Recording)]) -> Chart {
    let mut lines = Vec::new();
    for (colour, (server, recording)) in rounds.iter().enumerate() {
        let traffic = &recording.traffic;
        for (name, counts, is_dashed) in
            [("lost", &traffic.lost, false), ("other", &traffic.wrong, true)]
        {
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            #[allow(clippy::cast_precision_loss)]
            let points = ends(traffic).zip(counts.iter().map(|count| Some(*count as f64)));
            let label = format!("{server} {name}");
            lines.push(Line { label, colour, is_dashed, points: points.collect() });
        }
    }
    let y = Axis { label: "deliveries or connections".into(), scale: Scale::linear(ys(&lines)) };
    let note = "Lost: by when the event was published. Other: duplicated, reordered, strayed and \
                closed by the server, by when it was seen. The same round.";
    over_time("Errors over time", note, y, lines)
}

fn over_time(title: &str, note: &str, y: Axis, lines: Vec<Line>) -> Chart {
    let scale = Scale::span(xs(&lines));
    let x = Axis { label: "seconds since the round began".into(), scale };
    Chart { title: title.into(), note: note.into(), x, y, lines }
}

fn of_server(
    rounds: &[(&str, &Recording)],
    values: impl Fn(&Recording) -> Vec<Option<f64>>,
) -> Vec<Line> {
    let line = |(colour, (server, recording)): (usize, &(&str, &Recording))| Line {
        label: (*server).to_owned(),
        colour,
        is_dashed: false,
        points: recording.server.at_s.iter().copied().zip(values(recording)).collect(),
    };
    rounds.iter().enumerate().map(line).collect()
}

/// When each bucket ends.
fn ends(traffic: &TrafficOverTime) -> impl Iterator<Item = f64> {
    let (from, width) = (traffic.from_s, traffic.width_s);
    (1..).map(move |number: u32| from + f64::from(number) * width)
}

fn xs(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x))
}

fn ys(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y))
}
