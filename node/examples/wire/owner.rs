//! The owner of the channels: it publishes through its router, as its doors do.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use handbell::router::Asked;
use handbell::server::Server;
use proto::ChannelKey;
use proto::channel::{Command, Reply};
use proto::cluster::message::Ack;
use proto::cluster::slot::Slot;
use proto::event::{Data, Draft, Event, Origin, Priority};
use proto::name::EventName;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::part::{self, Part};
use super::stream;
use super::usage::{STAMP_BYTES, cpu_micros, stamp};
use super::{EVENT_BYTES, Load, Order, Sent, What};

/// Tasks that publish at once when the load is to be as high as it goes.
const PUBLISHERS: usize = 4;
/// Publishes that each of them makes without giving way to others.
const AT_ONCE: usize = 64;
/// Publishes that each of them has unanswered.
const UNANSWERED: usize = 1_024;
/// What an event is filled up with.
const FILLING: &str = match std::str::from_utf8(&[b'.'; EVENT_BYTES - STAMP_BYTES]) {
    Ok(filling) => filling,
    Err(_) => unreachable!(),
};
/// Events that may be on their way to the subscribers then: a link that is behind by more than its
/// backlog would be reset.
const UNDELIVERED: u64 = 8_192;
/// How long the last events may take.
const LAST_MAX: Duration = Duration::from_secs(3);

/// What every publish needs.
#[derive(Clone)]
struct Press {
    server: Arc<Server>,
    channels: Arc<[ChannelKey]>,
    name: EventName,
    ack: Ack,
    sent: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    /// Events that the receiver says it has got, since it began.
    delivered: Arc<AtomicU64>,
}

/// Says which channels it owns, and publishes when it is told.
pub(super) async fn run(part: &Part, stream: SocketAddr, channels: usize) -> anyhow::Result<()> {
    let node = part.join().await?;
    let server = Arc::clone(node.server());
    let channels = owned(&server, channels)?;
    let names: Vec<&str> = channels.iter().map(|key| key.channel.as_str()).collect();
    part::answer(&names)?;
    let line = TcpStream::connect(stream).context("the receiver does not listen")?;
    line.set_nodelay(true)?;
    let delivered = stream::listen(line.try_clone()?)?;
    while let Some(order) = block_in_place(part::next)? {
        let Order::Run(load) = order else { continue };
        let press = Press {
            server: Arc::clone(&server),
            channels: channels.clone().into(),
            name: EventName::parse("wire")?,
            ack: if load.what == What::Replicated { Ack::Replicated } else { Ack::Sequenced },
            sent: Arc::default(),
            failed: Arc::default(),
            delivered: Arc::clone(&delivered),
        };
        part::answer(&press.run(load, &line).await?)?;
    }
    Ok(())
}

/// The first channels that this node owns.
fn owned(server: &Server, count: usize) -> anyhow::Result<Vec<ChannelKey>> {
    let router = &server.router;
    let keys = (0..).map(|number: u32| part::key(&format!("wire-{number}")));
    let is_mine = |key: &anyhow::Result<ChannelKey>| {
        key.as_ref().is_ok_and(|key| router.owner(Slot::of(key)).as_ref() == Some(router.me()))
    };
    keys.filter(is_mine).take(count).collect()
}

impl Press {
    async fn run(&self, load: Load, line: &TcpStream) -> anyhow::Result<Sent> {
        let already = self.delivered.load(Relaxed);
        let (began, cpu) = (Instant::now(), cpu_micros());
        let duration = Duration::from_secs(load.seconds);
        match (load.what, load.rate) {
            (What::Stream, rate) => {
                let events = block_in_place(|| stream::write(line, rate, duration))?;
                self.sent.store(events, Relaxed);
            }
            (_, Some(rate)) => {
                // On a worker of the runtime, as doors are.
                let press = self.clone();
                tokio::spawn(async move { press.offer(rate, duration).await }).await?;
            }
            (_, None) => self.saturate(already, began + duration).await,
        }
        let seconds = began.elapsed().as_secs_f64();
        let events = self.sent.load(Relaxed);
        let until = Instant::now() + LAST_MAX;
        while self.delivered.load(Relaxed) - already < events && Instant::now() < until {
            sleep(Duration::from_millis(1)).await;
        }
        let cpu_micros = cpu_micros() - cpu;
        Ok(Sent { events, failed: self.failed.load(Relaxed), seconds, cpu_micros })
    }

    fn publish(&self) -> Asked {
        let number = self.sent.fetch_add(1, Relaxed);
        let place = usize::try_from(number).unwrap_or(0) % self.channels.len();
        let mut data = String::with_capacity(EVENT_BYTES);
        stamp(&mut data);
        data.push_str(FILLING);
        let event = Event { name: self.name.clone(), data: Data::Text(data.into()) };
        let draft = Draft {
            id: self.server.event_id(),
            event,
            origin: Origin::Api { except: None },
            ttl_ms: 0,
            priority: Priority::default(),
            retry: None,
        };
        let key = self.channels[place].clone();
        self.server.router.ask_for(key, Command::Publish(draft), Some(self.ack))
    }

    async fn await_answer(&self, asked: Asked) {
        if !matches!(asked.answer().await, Ok(Reply::Published(_))) {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    /// Every millisecond's events together; answers are waited for by another task.
    async fn offer(&self, rate: u64, duration: Duration) {
        let (asked, mut answers) = mpsc::channel(1 << 16);
        let press = self.clone();
        let waiting = tokio::spawn(async move {
            while let Some(asked) = answers.recv().await {
                press.await_answer(asked).await;
            }
        });
        let mut tick = interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for _ in 0..duration.as_millis() {
            tick.tick().await;
            for _ in 0..rate / 1_000 {
                // The receiver ends after this loop only.
                let _ = asked.send(self.publish()).await;
            }
        }
        drop(asked);
        // It ends when all answers are there.
        let _ = waiting.await;
    }

    async fn saturate(&self, already: u64, until: Instant) {
        let mut tasks = JoinSet::new();
        for _ in 0..PUBLISHERS {
            let press = self.clone();
            tasks.spawn(async move { press.keep_publishing(already, until).await });
        }
        tasks.join_all().await;
    }

    async fn keep_publishing(&self, already: u64, until: Instant) {
        let mut unanswered = VecDeque::new();
        while Instant::now() < until {
            let delivered = self.delivered.load(Relaxed) - already;
            if self.sent.load(Relaxed) > delivered + UNDELIVERED {
                sleep(Duration::from_millis(1)).await;
                continue;
            }
            unanswered.extend((0..AT_ONCE).map(|_| self.publish()));
            while unanswered.len() > UNANSWERED
                && let Some(asked) = unanswered.pop_front()
            {
                self.await_answer(asked).await;
            }
        }
        for asked in unanswered {
            self.await_answer(asked).await;
        }
    }
}
