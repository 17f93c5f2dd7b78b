//! What a node shows of its cluster, with real processes: whether the nodes have the same apps, and
//! the metrics. And how they stop together.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::*;
use tempfile::TempDir;

/// What all nodes of the tests know.
const CLUSTER_SECRET: &str = "cluster-secret-canary";

/// A `handbell serve` that ends with the test.
struct Process {
    child: Child,
    directory: TempDir,
    log: Receiver<Value>,
    admin: SocketAddr,
    cluster: SocketAddr,
}

impl Process {
    /// Starts a node that is part of a cluster: that of `seed`, or a new one.
    fn start(id: &str, seed: Option<&Self>, secret: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("handbell.toml"), configuration("")).unwrap();
        let seeds: Vec<String> = seed.iter().map(|seed| seed.cluster.to_string()).collect();
        let wait = if seeds.is_empty() { "0ms" } else { "60s" };
        let flags = [
            format!("cluster.node_id={id}"),
            format!("cluster.secret={secret}"),
            format!("cluster.seeds={seeds:?}"),
            format!("cluster.bootstrap_after={wait}"),
            "cluster.listen=127.0.0.1:0".into(),
        ];
        let mut child = Command::new(env!("CARGO_BIN_EXE_handbell"))
            .args(["serve", "--config"])
            .arg(directory.path().join("handbell.toml"))
            .args(flags.iter().flat_map(|flag| ["--set", flag]))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = hear(BufReader::new(child.stderr.take().unwrap()));
        let serving = wait_for(&log, "serving");
        let address = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
        let (admin, cluster) = (address("admin"), address("cluster"));
        Self { child, directory, log, admin, cluster }
    }

    /// Waits until the log has said this, and returns what was said with it.
    fn said(&self, message: &str) -> Value {
        wait_for(&self.log, message)
    }

    async fn status(&self) -> Value {
        get(self.admin, "/cluster").await.json()
    }

    async fn metrics(&self) -> String {
        get(self.admin, "/metrics").await.body
    }

    /// Waits until this node sees so many, agrees with them and serves its share.
    async fn is_one_of(&self, count: usize) {
        eventually("the nodes are a cluster", async || {
            let status = self.status().await;
            let members = status["view"]["members"].as_array().unwrap();
            let me = members.iter().find(|member| member["id"] == status["node"]["id"]);
            members.len() == count
                && status["differences"]["view"] == json!([])
                && members.iter().all(|member| member["phase"] == "serving")
                && me.is_some_and(|me| me["slots"] == status["slots_owned"])
        })
        .await;
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("handbell.toml")
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The configuration of a node; `app` is more of its app's section.
fn configuration(app: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[drain]
delay = "0ms"
window = "100ms"
[log]
format = "json"
[[apps]]
id = "app-id"
key = "app-key"
secret = "{SECRET}"
{app}"#
    )
}

/// What a process logs, each line's fields.
fn hear(lines: impl BufRead + Send + 'static) -> Receiver<Value> {
    let (sender, log) = sync_channel(10_000);
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            // The log is read to the end even if nobody listens: a full pipe would stop the process.
            let _ = sender.try_send(line["fields"].clone());
        }
    });
    log
}

#[track_caller]
fn wait_for(log: &Receiver<Value>, message: &str) -> Value {
    let mut before = Vec::new();
    loop {
        match log.recv_timeout(PATIENCE) {
            Ok(fields) if fields["message"] == message => return fields,
            Ok(fields) => before.push(fields),
            Err(error) => panic!("{error}: {message:?} was not said, but {before:#?}"),
        }
    }
}

/// The value of a series.
#[track_caller]
fn value(metrics: &str, series: &str) -> f64 {
    let found = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {series} in\n{metrics}"));
    found.parse().unwrap()
}

async fn pair() -> (Process, Process) {
    let a = Process::start("a", None, CLUSTER_SECRET);
    let b = Process::start("b", Some(&a), CLUSTER_SECRET);
    a.is_one_of(2).await;
    b.is_one_of(2).await;
    (a, b)
}

#[tokio::test]
async fn apps_that_differ_are_shown_everywhere_until_they_are_the_same_again() {
    let (a, b) = pair().await;
    assert_eq!(a.status().await["others"][0]["apps_match"], true);
    assert_eq!(value(&a.metrics().await, "handbell_cluster_apps_mismatch"), 0.0);

    std::fs::write(b.path(), configuration("limits.event_bytes = 1")).unwrap();
    b.signal(Signal::HUP);
    assert_eq!(
        a.said("a node has other apps than this one; see `handbell cluster status`")["peer"],
        "b"
    );
    let status = a.status().await;
    assert_eq!(status["others"][0]["apps_match"], false);
    assert_eq!(status["differences"]["apps"], json!(["b"]));
    let ready = get(a.admin, "/readyz?verbose").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("apps: other apps than here on b\n"), "{ready:?}");
    assert_eq!(value(&a.metrics().await, "handbell_cluster_apps_mismatch"), 1.0);
    let url = format!("http://{}", a.admin);
    let shown = Command::new(env!("CARGO_BIN_EXE_handbell"))
        .args(["cluster", "status", "--url", &url])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("\nother apps than a: b\n"), "{shown}");
    // Each sees it of the other.
    b.said("a node has other apps than this one; see `handbell cluster status`");

    std::fs::write(a.path(), configuration("limits.event_bytes = 1")).unwrap();
    a.signal(Signal::HUP);
    b.said("a node has the same apps as this one again, or is gone");
    a.said("a node has the same apps as this one again, or is gone");
    assert_eq!(a.status().await["others"][0]["apps_match"], true);
    let ready = get(a.admin, "/readyz?verbose").await;
    assert!(ready.body.contains("apps: ok\n"), "{ready:?}");
    assert_eq!(value(&a.metrics().await, "handbell_cluster_apps_mismatch"), 0.0);
}

#[tokio::test]
async fn the_metrics_of_two_nodes_say_what_is_true_of_them() {
    let (a, b) = pair().await;
    let (of_a, of_b) = (a.metrics().await, b.metrics().await);
    let owned = |metrics: &str| value(metrics, "handbell_cluster_ring_owned_ratio");
    assert!((owned(&of_a) + owned(&of_b) - 1.0).abs() < 1e-9, "{of_a}");
    for (metrics, peer) in [(&of_a, "b"), (&of_b, "a")] {
        let of_peer =
            |name: &str| value(metrics, &format!("handbell_cluster_{name}{{peer=\"{peer}\"}}"));
        assert_eq!(value(metrics, "handbell_cluster_members{phase=\"serving\"}"), 2.0);
        assert_eq!(of_peer("peer_up"), 1.0);
        assert!(of_peer("peer_rtt_seconds") > 0.0);
        assert!(of_peer("batches_sent_total") > 0.0);
        assert!(of_peer("batches_received_total") > 0.0);
        assert!(of_peer("send_backlog_bytes") >= 0.0);
        assert!(of_peer("unanswered_asks") >= 0.0);
        for nothing in [
            "members{phase=\"joining\"}",
            "members{phase=\"draining\"}",
            "view_mismatch",
            "version_mismatch",
            "wire_mismatch",
            "peers_suspected",
            "unreadable_messages_total",
            "handshakes_refused_total{rule=\"secret\"}",
            "datagrams_dropped_total{reason=\"garbage\"}",
        ] {
            assert_eq!(value(metrics, &format!("handbell_cluster_{nothing}")), 0.0, "{nothing}");
        }
    }
    assert!(value(&of_a, "handbell_cluster_slots_ceded_total") > 0.0);
    assert!(value(&of_b, "handbell_cluster_slots_taken_total") > 0.0);
    let documented = of_a.lines().filter(|line| line.starts_with("# TYPE handbell_cluster_"));
    for name in documented.map(|line| line.split(' ').nth(2).unwrap()) {
        assert!(of_a.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
}

#[tokio::test]
async fn a_peer_that_is_gone_leaves_no_series_and_a_stranger_is_counted() {
    let (a, b) = pair().await;
    let stranger = Process::start("c", Some(&a), "another-secret-canary");
    eventually("the refusal is counted", async || {
        value(&a.metrics().await, "handbell_cluster_handshakes_refused_total{rule=\"secret\"}")
            > 0.0
    })
    .await;
    drop(stranger);
    b.signal(Signal::KILL);
    a.is_one_of(1).await;
    let metrics = a.metrics().await;
    assert_eq!(value(&metrics, "handbell_cluster_members{phase=\"serving\"}"), 1.0);
    assert_eq!(value(&metrics, "handbell_cluster_ring_owned_ratio"), 1.0);
    assert!(!metrics.contains("peer=\"b\""), "{metrics}");
}

#[tokio::test]
async fn nodes_that_are_all_stopped_together_wait_for_nobody_to_take_their_slots() {
    let (mut a, mut b) = pair().await;
    for node in [&a, &b] {
        node.signal(Signal::TERM);
    }
    for node in [&mut a, &mut b] {
        let said: Vec<Value> = node.log.iter().map(|fields| fields["message"].clone()).collect();
        assert!(said.contains(&json!("drained")), "{said:?}");
        assert!(!said.contains(&json!("slots could not be handed over in time")), "{said:?}");
        assert!(node.child.wait().unwrap().success());
    }
}
