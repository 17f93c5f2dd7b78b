//! The program as a user runs it, against the bare server: scenarios end, count what they should, and
//! write what they say.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs a scenario once and returns its report. Fails if the program does not end with 0.
#[track_caller]
fn run(folder: &Path, arguments: &[&str]) -> Value {
    let json = folder.join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_handbell-loadtest"));
    command.args(arguments).args(["--rounds", "1", "--json"]).arg(&json);
    if !arguments.contains(&"--servers") {
        command.args(["--servers", "bare"]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap()
}

/// The broker, which is another package's: a workspace's tests have built it.
#[track_caller]
fn handbell() -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_handbell-loadtest")).with_file_name("handbell");
    assert!(path.exists(), "{} is not there: cargo build -p handbell", path.display());
    path.to_string_lossy().into_owned()
}

/// A figure of the only round.
#[track_caller]
fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["servers"][0]["medians"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {figures:?}"))["value"].as_f64().unwrap()
}

/// The sum of a column of the only round's recording.
fn sum(report: &Value, part: &str, column: &str) -> u64 {
    let column = &report["servers"][0]["rounds"][0]["recording"][part][column];
    column.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn a_fan_out_records_every_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("report.html");
    let arguments = ["fan-out", "--subscribers", "5", "--events", "20", "--html"];
    let arguments = [&arguments[..], &[html.to_str().unwrap()]].concat();
    let report = run(folder.path(), &arguments);
    assert_eq!(report["schema"], 2);
    // Two of the events are for warming up.
    assert_eq!(sum(&report, "traffic", "published"), 18);
    assert_eq!(sum(&report, "traffic", "delivered"), 5 * 18);
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("<h3>Latency by percentile</h3>"));
}

#[test]
fn everybody_comes_back_after_a_storm() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(
        folder.path(),
        &[
            "reconnect-storm",
            "--connections",
            "100",
            "--watchers",
            "10",
            "--channels",
            "10",
            "--calm",
            "1",
            "--rate",
            "50",
        ],
    );
    assert_eq!(sum(&report, "arrivals", "delivered"), 100);
    assert_eq!(figure(&report, "failed attempts"), 0.0);
    // It is the last one's, whose three digits may be rounded up.
    let all = figure(&report, "all back after, ms");
    assert!(all * 1.01 >= figure(&report, "back max, ms"), "{all}");
    // While it is calm, everyone is there: 11 in each channel.
    assert!(sum(&report, "traffic", "delivered") >= 50 * 11);
}

#[test]
fn client_events_reach_everybody_but_their_sender() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(
        folder.path(),
        &[
            "client-events",
            "--channels",
            "3",
            "--subscribers",
            "5",
            "--senders",
            "2",
            "--rate",
            "100",
            "--seconds",
            "1",
        ],
    );
    let published = sum(&report, "traffic", "published");
    assert!(published > 0);
    // What was sent while it warmed up may arrive in the measured time.
    assert!(sum(&report, "traffic", "delivered") >= 4 * published);
}

#[test]
fn members_are_told_of_every_join_and_leave() {
    let folder = tempfile::tempdir().unwrap();
    let handbell = handbell();
    let arguments = [
        "presence-churn",
        "--channels",
        "3",
        "--members",
        "4",
        "--rate",
        "60",
        "--seconds",
        "1",
        "--server",
        handbell.as_str(),
        "--servers",
        "handbell",
    ];
    let report = run(folder.path(), &arguments);
    let published = sum(&report, "traffic", "published");
    assert!(published > 0);
    assert_eq!(sum(&report, "traffic", "delivered"), 4 * published);
}

#[test]
fn who_stops_reading_gets_everything_or_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(
        folder.path(),
        &["slow-consumer", "--subscribers", "4", "--slow", "2", "--rate", "100", "--seconds", "1"],
    );
    // The bare server waits for everybody.
    assert_eq!(figure(&report, "slow ones that got everything"), 2.0);
    assert_eq!(figure(&report, "slow ones that were closed"), 0.0);
    // The slow ones are in no figure, also not while they read.
    let published = sum(&report, "traffic", "published");
    assert_eq!(sum(&report, "traffic", "delivered"), 4 * published);
}

#[test]
fn everybody_on_a_ramp_is_let_in_and_gets_events() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(
        folder.path(),
        &["connect-ramp", "--connections", "100", "--rate", "200", "--channels", "10"],
    );
    assert_eq!(sum(&report, "arrivals", "delivered"), 100);
    assert_eq!(sum(&report, "traffic", "delivered"), 3 * 100);
}

#[test]
fn a_soak_does_all_that_the_server_can_do() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "soak",
        "--seconds",
        "2",
        "--channels",
        "3",
        "--subscribers",
        "3",
        "--rate",
        "50",
        "--cuts",
        "5",
    ];
    let report = run(folder.path(), &arguments);
    assert!(figure(&report, "cuts") > 0.0);
    let handbell = handbell();
    let here = ["--server", handbell.as_str(), "--servers", "handbell"];
    let report = run(folder.path(), &[&arguments[..], &here].concat());
    let (published, delivered) =
        (sum(&report, "traffic", "published"), sum(&report, "traffic", "delivered"));
    // Of a client event the sender gets nothing, and who is cut may miss something.
    assert!(delivered >= 2 * published && delivered < 3 * published, "{delivered} of {published}");
}
