//! The engine of the cluster between real processes: `examples/engine_node.rs`. How many strangers
//! come to the cluster port is `ENGINE_STRANGERS` (default 500 of each kind); docs/TESTING.md has
//! the command for 10,000.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process, and what it prints.
struct Node {
    process: Child,
    input: ChildStdin,
    lines: Receiver<(Instant, String)>,
    address: SocketAddr,
    incarnation: String,
    /// Sessions that came up while something else was waited for: the peer and the number.
    ups: BTreeMap<String, String>,
}

impl Node {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(program())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example runs");
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = sync_channel(100_000);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let input = process.stdin.take().unwrap();
        let address = "0.0.0.0:0".parse().unwrap();
        let (incarnation, ups) = (String::new(), BTreeMap::new());
        let mut node = Self { process, input, lines, address, incarnation, ups };
        let words = node.wait("address ");
        node.address = words[1].parse().unwrap();
        node.incarnation.clone_from(&words[2]);
        node
    }

    /// A node that finds others through this one.
    fn join(id: &str, seed: &Self, arguments: &[&str]) -> Self {
        let (id, seeds) = (format!("id={id}"), format!("seeds={}", seed.address));
        Self::start(&[&[id.as_str(), &seeds], arguments].concat())
    }

    fn say(&mut self, line: impl Display) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Waits for a line with this in it and gives its words.
    #[track_caller]
    fn wait(&mut self, part: &str) -> Vec<String> {
        self.wait_timed(part).1
    }

    #[track_caller]
    fn wait_timed(&mut self, part: &str) -> (Instant, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        let mut missed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, line)) if line.contains(part) => {
                    return (at, line.split(' ').map(Into::into).collect());
                }
                Ok((_, line)) => {
                    if let ["up", peer, _, session] = *line.split(' ').collect::<Vec<_>>() {
                        self.ups.insert(peer.to_owned(), session.to_owned());
                    }
                    missed.push(line);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    missed.truncate(40);
                    panic!("no {part:?}, but {missed:#?}");
                }
            }
        }
    }

    /// Waits until a session with this peer is up and gives its number.
    #[track_caller]
    fn wait_up(&mut self, peer: &str) -> String {
        let missed = self.ups.remove(peer);
        missed.unwrap_or_else(|| self.wait(&format!("up {peer} ")).swap_remove(3))
    }

    fn signal(&self, signal: Signal) -> Instant {
        let id = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
        Instant::now()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example, built: `cargo test --test engine` alone would run what was built before.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "handbell", "--example", "engine_node"]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples/engine_node")
    })
}

#[track_caller]
fn check_burst(from: &mut Node, session: &str, to: &mut Node) {
    from.say(format_args!("burst {session} 300"));
    let mut lanes = BTreeSet::new();
    while lanes.len() < 3 {
        let words = to.wait(&format!(" {session} "));
        assert_eq!((words[0].as_str(), words[3].as_str()), ("burst", "300"), "{words:?}");
        lanes.insert(words[2].clone());
    }
}

#[test]
fn nodes_find_each_other_and_frames_keep_their_order_in_every_lane() {
    let mut a = Node::start(&["id=a"]);
    let mut b = Node::join("b", &a, &[]);
    let mut c = Node::join("c", &b, &[]);
    let (ab, ac) = (a.wait_up("b"), a.wait_up("c"));
    let bc = b.wait_up("c");
    check_burst(&mut a, &ab, &mut b);
    check_burst(&mut b, &ab, &mut a);
    check_burst(&mut a, &ac, &mut c);
    check_burst(&mut c, &bc, &mut b);

    c.say("drain");
    a.wait("live:Draining");
    // An unknown session, and a lane too many.
    a.say("send 1 0 x");
    a.wait("sent false");
    a.say(format_args!("send {ab} 3 x"));
    a.wait("sent false");
    a.say(format_args!("send {ab} 2 hello"));
    assert_eq!(b.wait("hello"), ["frame", &ab, "2", "hello"]);
    b.say("stop");
    b.wait("stopped");
    a.wait(&format!("down b {} {ab}", b.incarnation));
}

#[test]
fn a_killed_node_is_noticed_and_comes_back_in_a_new_life() {
    let mut a = Node::start(&["id=a"]);
    let mut b = Node::join("b", &a, &[]);
    let first = a.wait_up("b");
    // Some heartbeats, as between any two nodes.
    thread::sleep(Duration::from_secs(3));
    let killed = b.signal(Signal::KILL);
    let (down, _) = a.wait_timed(&format!("down b {} {first}", b.incarnation));
    assert!(down - killed < Duration::from_millis(100), "down after {:?}", down - killed);
    a.wait("failed b true");
    let (dead, _) = a.wait_timed(&format!("b:{}:dead", b.incarnation));
    assert!(dead - killed < Duration::from_secs(2), "dead after {:?}", dead - killed);

    let started = Instant::now();
    b = Node::join("b", &a, &[]);
    let (up, words) = a.wait_timed("up b ");
    assert_eq!(words[2], b.incarnation);
    assert!(up - started < Duration::from_secs(3), "up after {:?}", up - started);
    b.wait_up("a");
    check_burst(&mut b, &words[3], &mut a);
}

#[test]
fn a_new_life_replaces_one_that_is_only_stopped() {
    let mut a = Node::start(&["id=a", "incarnation=9"]);
    let mut old = Node::join("b", &a, &["incarnation=1"]);
    let first = a.wait_up("b");
    old.wait_up("a");
    old.signal(Signal::STOP);
    let mut new = Node::join("b", &a, &["incarnation=2"]);
    // The stopped process does not close its socket: only the newcomer can end that session.
    a.wait(&format!("down b 1 {first}"));
    let second = a.wait_up("b");
    check_burst(&mut a, &second, &mut new);
    old.signal(Signal::CONT);
    old.wait("down a 9");
    old.wait("a later life of b is known");
}

#[test]
fn a_stopped_process_falls_silent_in_gossip() {
    let mut a = Node::start(&["id=a"]);
    let mut b = Node::join("b", &a, &[]);
    let mut c = Node::join("c", &a, &[]);
    for peer in ["b", "c"] {
        a.wait_up(peer);
    }
    thread::sleep(Duration::from_secs(3));
    let stopped = b.signal(Signal::STOP);
    for node in [&mut a, &mut c] {
        let (dead, _) = node.wait_timed(&format!("b:{}:dead", b.incarnation));
        assert!(dead - stopped < Duration::from_millis(3500), "dead after {:?}", dead - stopped);
    }
    b.signal(Signal::CONT);
    a.wait(&format!("b:{}:live", b.incarnation));
    b.wait("gossip a:");
}

#[test]
fn a_seed_that_refuses_says_why() {
    let mut a = Node::start(&["id=a"]);
    for (argument, reason) in [
        ("secret=another one", "the cluster secret differs"),
        ("wire=512", "the cluster protocol is 1.0 on a and 2.0 on b"),
        ("slots=16", "a divides channels into 4096 slots and b into 16"),
    ] {
        let mut b = Node::join("b", &a, &[argument]);
        b.wait(reason);
    }
    let mut twin = Node::join("a", &a, &[]);
    twin.wait("another node with the id a is running");
    let mut empty = Node::start(&["id=z", "seeds=127.0.0.1:1,localhost:1"]);
    empty.say("counts");
    empty.wait("counts");

    a.say("counts");
    let counts = a.wait("counts").join(" ");
    assert!(counts.contains("(Secret, 1)"), "{counts}");
    assert!(!counts.contains("datagrams_garbage: 0,"), "{counts}");
}

#[test]
fn closing_and_dialling_again_never_locks_out() {
    let mut a = Node::start(&["id=a", "dial=manual"]);
    let mut b = Node::join("b", &a, &["dial=manual"]);
    a.wait("b:");
    let mut used = BTreeSet::new();
    for round in 0..20 {
        a.say(format_args!("dial b {} {}", b.incarnation, b.address));
        // Dials that come too soon, or from both sides, do no harm.
        if round % 3 == 0 {
            a.say(format_args!("dial b {} {}", b.incarnation, b.address));
            b.say(format_args!("dial a {} {}", a.incarnation, a.address));
        }
        let session = a.wait_up("b");
        assert_eq!(b.wait_up("a"), session);
        assert!(used.insert(session.clone()), "{session} was used before");
        check_burst(&mut b, &session, &mut a);
        let (closer, other) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        closer.say(format_args!("close {session}"));
        closer.wait(&session);
        other.wait(&session);
    }
    // Whoever dials a life that is gone hears so at once, and whoever dials nobody too.
    a.say(format_args!("dial b 1 {}", b.address));
    a.wait("failed b true");
    a.say("dial b 1 127.0.0.1:1");
    a.wait("failed b true");
}

#[test]
fn a_lane_that_panics_costs_the_session_and_no_more() {
    let mut a = Node::start(&["id=a"]);
    let mut b = Node::join("b", &a, &[]);
    let first = a.wait_up("b");
    b.wait_up("a");
    a.say(format_args!("send {first} 1 panic"));
    b.wait("down a");
    a.wait("down b");
    let second = a.wait_up("b");
    b.wait_up("a");
    check_burst(&mut a, &second, &mut b);
}

/// How many connections of each kind are not from nodes.
fn strangers() -> usize {
    std::env::var("ENGINE_STRANGERS").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
}

/// The time from a dial to the session, over a few dials.
fn link_times(a: &mut Node, b: &mut Node) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..9 {
        let began = Instant::now();
        b.say(format_args!("dial a {} {}", a.incarnation, a.address));
        let (up, words) = b.wait_timed("up a ");
        times.push(up - began);
        b.say(format_args!("close {}", words[3]));
        b.wait("down a ");
    }
    times
}

#[test]
fn strangers_do_not_keep_a_node_out() {
    let mut a = Node::start(&["id=a", "dial=manual"]);
    let mut b = Node::join("b", &a, &["dial=manual"]);
    a.wait("b:");
    let mut alone = link_times(&mut a, &mut b);

    let address = a.address;
    let idle: Vec<_> = (0..strangers()).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&is_over);
    let garbage = thread::spawn(move || {
        let mut sent = 0;
        while sent < strangers() || !stop.load(Ordering::Relaxed) {
            if let Ok(mut stream) = TcpStream::connect(address) {
                // The node may have closed it before it could be written to.
                let _ = stream.write_all(&[sent.to_be_bytes().as_slice(); 100].concat());
                sent += 1;
            }
            // A node that is built for debugging accepts fewer than one thread can send.
            if cfg!(debug_assertions) {
                thread::sleep(Duration::from_micros(300));
            }
        }
        sent
    });
    let mut among_strangers = link_times(&mut a, &mut b);
    let mut newcomer = Node::join("A", &a, &[]);
    newcomer.wait_up("a");
    is_over.store(true, Ordering::Relaxed);
    let sent = garbage.join().unwrap();
    println!(
        "{} idle, {sent} garbage; alone {alone:?}, among them {among_strangers:?}",
        idle.len()
    );

    alone.sort();
    among_strangers.sort();
    let delay = among_strangers[4].saturating_sub(alone[4]);
    assert!(delay <= Duration::from_millis(100), "{delay:?} later");
    // As many as may be silent at once, and the newcomer.
    a.say("counts");
    let counts = a.wait("counts").join(" ");
    let pending = counts.split("pending: ").nth(1).unwrap().split(',').next().unwrap();
    assert!(pending.parse::<usize>().unwrap() <= 1024 + 64, "{counts}");
}

/// A folder with the files of one node's TLS.
fn certificate(
    node: &str,
    issuer: &Issuer<'_, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![node.to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, issuer).unwrap();
    std::fs::write(folder.path().join("node.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.path().join("node.key"), key.serialize_pem()).unwrap();
    folder
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

#[test]
fn with_tls_only_nodes_with_their_own_certificate_meet() {
    let (ca, issuer) = authority("ours");
    let (_, stranger) = authority("theirs");
    let files = |node: &str, issuer: &Issuer<'_, KeyPair>, change: fn(&mut CertificateParams)| {
        let folder = certificate(node, issuer, change);
        std::fs::write(folder.path().join("ca.crt"), &ca).unwrap();
        folder
    };
    let tls = |folder: &TempDir| format!("tls={}", folder.path().display());
    let (a_files, b_files) = (files("a", &issuer, |_| {}), files("b", &issuer, |_| {}));
    let mut a = Node::start(&["id=a", &tls(&a_files)]);
    let mut b = Node::join("b", &a, &[&tls(&b_files)]);
    let session = a.wait_up("b");
    check_burst(&mut a, &session, &mut b);
    check_burst(&mut b, &session, &mut a);

    let past = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    for (files, reason) in [
        (files("d", &issuer, |_| {}), "the certificate's names do not contain the node id c"),
        (files("*.c", &issuer, |_| {}), "the certificate's names do not contain the node id c"),
        (files("c", &stranger, |_| {}), "UnknownCA"),
        (files("c", &issuer, past), "CertificateExpired"),
    ] {
        let mut c = Node::join("c", &a, &[&tls(&files)]);
        c.wait(reason);
    }
    let mut plain = Node::join("c", &a, &[]);
    plain.wait("is cluster.tls the same on all nodes?");
}
