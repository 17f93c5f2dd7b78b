//! Whole pages: what has to be in them, what must not, and that every tag is closed.

use crate::recording::{Recording, ServerOverTime, TrafficOverTime};
use crate::report::Round;

use super::*;

fn recording(lost: u64) -> Recording {
    Recording {
        percentiles: vec![(0.0, 0.5), (0.9, 2.0), (0.99, 9.0), (1.0, 12.0)],
        traffic: TrafficOverTime {
            from_s: 1.0,
            to_s: 2.9,
            width_s: 0.5,
            published: vec![10, 10, 0, 10],
            delivered: vec![100, 100, 0, 100],
            wrong: vec![0; 4],
            lost: vec![0, 0, lost, 0],
            p50_ms: vec![Some(0.5), Some(0.6), None, Some(0.5)],
            p99_ms: vec![Some(5.0), Some(6.0), None, Some(5.0)],
            max_ms: vec![Some(7.0), Some(12.0), None, Some(8.0)],
        },
        arrivals: TrafficOverTime::default(),
        server: ServerOverTime {
            at_s: vec![0.0, 1.0, 2.0],
            cpu_percent: vec![None, Some(40.0), Some(55.0)],
            memory_mib: vec![20.0, 24.0, 25.0],
        },
    }
}

fn series(server: &str, lost: u64) -> Series {
    let mut round = Round { recording: recording(lost), ..Round::default() };
    round.add("latency p99, ms", 9.0);
    round.faults.lost = lost;
    Series::new(server.into(), vec![round])
}

fn page(lost: u64) -> String {
    let report = Report::of(vec![series("bare", 0), series("handbell</th><script>", lost)]);
    Page::of(&report, vec!["p99<1ms: handbell has 9".into()]).draw()
}

/// Names of tags, in order; an end has a slash. Fails if a tag is not closed by its own end.
fn tags(page: &str) -> Vec<&str> {
    const EMPTY: [&str; 2] = ["!doctype", "meta"];
    let (mut seen, mut open) = (Vec::new(), Vec::new());
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        let name = tag.split([' ', '\n']).next().unwrap().trim_end_matches('/');
        seen.push(name);
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}> closes another tag"),
            None if EMPTY.contains(&name) || tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "not closed");
    seen
}

#[test]
fn a_page_has_a_table_and_a_picture_of_everything() {
    let page = page(3);
    let pictures = tags(&page).iter().filter(|tag| **tag == "svg").count();
    assert_eq!(pictures, 7);
    for text in [
        "<h3>Latency by percentile</h3>",
        "<h3>Latency over time</h3>",
        "<h3>Throughput over time</h3>",
        "<h3>Server CPU over time</h3>",
        "<h3>Server memory over time</h3>",
        "<h3>Errors over time</h3>",
        "<tr><th>latency p99, ms</th><td>9.00</td><td>9.00</td><td>1.00</td></tr>",
        "<tr><th>lost</th><td>0</td><td class=\"bad\">3</td><td></td></tr>",
        "Does not hold: p99&lt;1ms",
        "3 lost, 0 duplicated",
        ">latency, ms</text>",
        ">events a second</text>",
        ">deliveries a second</text>",
        ">memory, MiB</text>",
        ">99 %</text>",
    ] {
        assert!(page.contains(text), "{text} is not in the page");
    }
}

#[test]
fn without_errors_there_is_no_picture_of_them() {
    let page = page(0);
    assert_eq!(tags(&page).iter().filter(|tag| **tag == "svg").count(), 6);
    assert!(page.contains("Every delivery came once and in order"));
}

#[test]
fn a_page_needs_nothing_from_elsewhere_and_runs_nothing() {
    let page = page(3);
    for word in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "onload"] {
        assert!(!page.contains(word), "{word} is in the page");
    }
    assert!(page.contains("handbell&lt;/th&gt;&lt;script&gt;"));
}

#[test]
fn a_report_without_recordings_is_a_table_alone() {
    let mut round = Round::default();
    round.add("latency p99, ms", 9.0);
    let report = Report::of(vec![Series::new("handbell".into(), vec![round])]);
    let page = Page::of(&report, Vec::new()).draw();
    assert!(!tags(&page).contains(&"svg"));
    assert!(page.contains("<tr><th>latency p99, ms</th><td>9.00</td></tr>"));
}

#[test]
fn connections_that_come_all_the_time_have_pictures() {
    let mut series = series("handbell", 0);
    series.rounds[0].recording.arrivals = recording(0).traffic;
    let page = Page::of(&Report::of(vec![series]), Vec::new()).draw();
    assert_eq!(tags(&page).iter().filter(|tag| **tag == "svg").count(), 8);
    assert!(page.contains(">connections a second</text>"));
    assert!(page.contains(">time to be subscribed, ms</text>"));
}

#[test]
fn pictures_over_time_are_all_over_the_same_time() {
    let mut series = series("handbell", 0);
    // The server was looked at for longer than anything arrived.
    series.rounds[0].recording.server.at_s[2] = 30.0;
    let page = Page::of(&Report::of(vec![series]), Vec::new()).draw();
    assert_eq!(page.matches(">seconds since the round began</text>").count(), 5);
    assert_eq!(page.matches(">30</text>").count(), 5 + 1, "one is of CPU, in %");
}

#[test]
fn dates_are_in_universal_time() {
    assert_eq!(date(1_700_000_000), "2023-11-14T22:13:20Z");
}
