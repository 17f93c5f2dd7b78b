//! A node that is nothing but the engine of the cluster, driven over stdin and stdout by
//! `node/tests/engine.rs`: two nodes need two processes.
//!
//! Arguments are `key=value`. It dials every later life that gossip shows it, unless `dial=manual`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use handbell::clock::unix_ms;
use handbell::cluster::engine::{
    ClusterTls, Engine, EngineConfig, Event, Facts, Inbox, LANES, Phase, Seen,
};
use proto::RelayId;
use proto::app::Secret;
use proto::name::NodeId;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn read() -> Self {
        let pair = |text: String| {
            let (key, value) = text.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        Self(std::env::args().skip(1).filter_map(pair).collect())
    }

    fn get(&self, key: &str, default: &str) -> String {
        self.0.get(key).map_or(default, String::as_str).to_owned()
    }

    fn parse<T>(&self, key: &str, default: &str) -> anyhow::Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.get(key, default).parse().with_context(|| key.to_owned())
    }

    fn facts(&self, listen: SocketAddr) -> anyhow::Result<Facts> {
        let incarnation = self.parse("incarnation", &unix_ms().to_string())?;
        Ok(Facts {
            id: RelayId { node: NodeId::parse(&self.get("id", "a"))?, incarnation },
            cluster: listen,
            clients: None,
            wire: self.parse("wire", "256")?,
            slots: self.parse("slots", "4096")?,
            phase: Phase::Joining,
            apps_digest: 0,
            version: env!("CARGO_PKG_VERSION").into(),
            view_hash: 0,
            suspects: Vec::new(),
        })
    }

    fn config(&self, listen: SocketAddr) -> EngineConfig {
        let seeds = self.get("seeds", "");
        let folder = self.get("tls", "");
        let file = |name: &str| format!("{folder}/{name}").into();
        let tls = (!folder.is_empty()).then(|| ClusterTls {
            certificate: file("node.crt"),
            key: file("node.key"),
            ca: file("ca.crt"),
        });
        EngineConfig {
            listen,
            seeds: seeds.split(',').filter(|seed| !seed.is_empty()).map(Into::into).collect(),
            secret: Secret::new(self.get("secret", "a secret for tests")),
            tls,
        }
    }
}

/// Prints what arrives: bursts by their end only.
struct Printer(mpsc::Sender<(u64, usize, String)>);

impl Inbox for Printer {
    fn receive(
        &self,
        _from: RelayId,
        session: u64,
        lane: usize,
        frame: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let text = String::from_utf8_lossy(&frame).into_owned();
            assert_ne!(text, "panic", "as it was told");
            let _ = self.0.send((session, lane, text)).await;
        })
    }
}

async fn print_frames(mut frames: mpsc::Receiver<(u64, usize, String)>) {
    let mut expected: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    while let Some((session, lane, text)) = frames.recv().await {
        let Some((number, total)) = text.split_once('/') else {
            println!("frame {session:x} {lane} {text}");
            continue;
        };
        let next = expected.entry((session, lane)).or_default();
        if number != next.to_string() {
            println!("disorder {session:x} {lane} {number} after {next}");
        }
        *next += 1;
        if next.to_string() == total {
            println!("burst {session:x} {lane} {total}");
            *next = 0;
        }
    }
}

/// Whom to dial: the live peers with later names.
#[derive(Default)]
struct Peers {
    seen: Vec<Seen>,
    up: BTreeSet<RelayId>,
}

impl Peers {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Up { peer, session } => {
                println!("up {} {:x} {session:x}", peer.node, peer.incarnation);
                self.up.insert(peer);
            }
            Event::Down { peer, session } => {
                println!("down {} {:x} {session:x}", peer.node, peer.incarnation);
                self.up.remove(&peer);
            }
            Event::DialFailed { peer, refused } => println!("failed {} {refused}", peer.node),
            Event::Rejected { address, reason } => println!("rejected {address} {reason}"),
            Event::Gossip(seen) => {
                let word = |seen: &Seen| {
                    let state = if seen.is_live { "live" } else { "dead" };
                    let Facts { id, phase, .. } = &seen.facts;
                    format!(" {}:{:x}:{state}:{phase:?}", id.node, id.incarnation)
                };
                println!("gossip{}", seen.iter().map(word).collect::<String>());
                self.seen = seen;
            }
        }
    }

    fn dial(&self, me: &RelayId, engine: &Engine) {
        for Seen { facts, is_live } in &self.seen {
            if *is_live && *me < facts.id && !self.up.contains(&facts.id) {
                engine.dial(&facts.id, facts.cluster);
            }
        }
    }
}

async fn obey(engine: &Engine, line: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = line.split(' ').collect();
    let hex = |text: &str| u64::from_str_radix(text, 16);
    match *words.as_slice() {
        ["dial", node, incarnation, address] => {
            let peer = RelayId { node: NodeId::parse(node)?, incarnation: hex(incarnation)? };
            engine.dial(&peer, address.parse()?);
        }
        ["send", session, lane, text] => {
            let is_sent = engine.send(hex(session)?, lane.parse()?, text.into());
            println!("sent {is_sent}");
        }
        ["burst", session, total] => {
            let (session, total) = (hex(session)?, total.parse()?);
            for number in 0..total {
                for lane in 0..LANES {
                    let frame = format!("{number}/{total}").into();
                    anyhow::ensure!(engine.send(session, lane, frame), "not sent");
                }
            }
        }
        ["close", session] => engine.close(hex(session)?),
        ["drain"] => engine.announce(|facts| facts.phase = Phase::Draining),
        ["counts"] => println!("counts {:?}", engine.counts()),
        ["stop"] => {
            engine.stop().await;
            println!("stopped");
        }
        _ => anyhow::bail!("what is `{line}`?"),
    }
    Ok(())
}

fn read_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::read();
    let listen: SocketAddr = arguments.parse("listen", "127.0.0.1:0")?;
    let is_manual = arguments.get("dial", "auto") == "manual";
    let me = arguments.facts(listen)?;
    let id = me.id.clone();
    let (events_sender, mut events) = mpsc::channel(64);
    let (frames_sender, frames) = mpsc::channel(64);
    tokio::spawn(print_frames(frames));
    let inbox = Arc::new(Printer(frames_sender));
    let engine = Engine::start(arguments.config(listen), me, events_sender, inbox).await?;
    println!("address {} {:x}", engine.address(), id.incarnation);
    let mut lines = read_lines();
    let mut peers = Peers::default();
    let mut ticks = interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => peers.apply(event),
                None => println!("ended"),
            },
            line = lines.recv() => match line {
                Some(line) => obey(&engine, &line).await?,
                None => return Ok(()),
            },
            _ = ticks.tick(), if !is_manual => peers.dial(&id, &engine),
        }
        if events.is_closed() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}
