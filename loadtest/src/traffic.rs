//! Publishers and subscribers in one epoll loop on one thread: it sends what is due, takes what
//! arrives, checks it and measures how long it took. Nothing is allocated for a delivery.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::checker::{Checker, Faults};
use crate::poll::{Interest, Poll};
use crate::publisher::Publisher;
use crate::recording::Recording;
use crate::subscriber::Subscriber;
use crate::tally::Tally;

/// Tokens from here on are publishers'.
const PUBLISHERS: u64 = 1 << 32;
/// How long nothing may happen before what is outstanding counts as lost.
const STALL_MAX: Duration = Duration::from_secs(5);
/// How often a stall is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When the next request may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When everything before it has been delivered and answered.
    OneAtATime,
    /// As soon as its publisher's last one was answered.
    Saturated,
    /// So long after the one before was due, whatever has come of it (an open loop). What waits for a
    /// publisher that is free, or for this process, was sent when it was due.
    Open(Duration),
}

impl Pace {
    /// So many requests a second, in an open loop.
    #[must_use]
    pub fn at(rate: u32) -> Self {
        Self::Open(Duration::from_secs(1) / rate)
    }
}

/// Everything that goes on in one run.
#[derive(Debug)]
pub struct Traffic {
    poll: Poll,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    pace: Pace,
    /// Subscribers of each stream.
    audience: u64,
    /// The tally.
    pub tally: Tally,
    /// Deliveries that were asked for.
    expected: u64,
    /// Whether to look without ever sleeping, so that no server pays for waking this process.
    pub is_spinning: bool,
    buffer: Vec<u8>,
    began: Instant,
    due: Instant,
    /// Whose turn it is among publishers that are free.
    turn: usize,
}

impl Traffic {
    /// Connects what is open already; `streams` and `audience` say how many streams there are and
    /// how many subscribers each has.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(
        subscribers: Vec<Subscriber>,
        publishers: Vec<Publisher>,
        pace: Pace,
        checker: Checker,
        (streams, audience): (usize, u64),
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        for (token, subscriber) in (0..).zip(&subscribers) {
            poll.add(subscriber.stream(), token, Interest::Read)?;
        }
        for (token, publisher) in (PUBLISHERS..).zip(&publishers) {
            poll.add(publisher.stream(), token, Interest::Changes)?;
        }
        let now = Instant::now();
        Ok(Self {
            poll,
            subscribers,
            publishers,
            pace,
            audience,
            tally: Tally::new(checker, streams),
            expected: 0,
            is_spinning: false,
            buffer: vec![0; 256 * 1024],
            began: now,
            due: now,
            turn: 0,
        })
    }

    /// Runs until every publisher has begun `limit` requests, or all it has, and everything was
    /// answered and delivered; or until nothing happens any more.
    ///
    /// # Errors
    /// If the server refuses or breaks the protocol.
    pub fn run(&mut self, limit: usize) -> anyhow::Result<()> {
        let mut last = Instant::now();
        self.due = self.due.max(last);
        loop {
            // One time for both: what is early here must not be late there.
            let now = Instant::now();
            self.begin_due(limit, now)?;
            if self.is_done(limit) {
                return Ok(());
            }
            let count = self.poll.wait(Some(self.patience(now)))?;
            for index in 0..count {
                let (token, _) = self.poll.ready(index);
                self.attend(token)?;
            }
            if count > 0 || self.due > now {
                last = now;
            } else if last.elapsed() > STALL_MAX {
                return Ok(());
            }
        }
    }

    /// Begins the count anew; what was published stays checked.
    pub fn forget(&mut self) {
        self.tally.forget(nanoseconds(self.began.elapsed()));
        self.expected = 0;
    }

    /// What is recorded of it, if nothing comes any more; `began` is when the round did.
    #[must_use]
    pub fn recording(&mut self, began: Instant) -> Recording {
        let offset = self.began.saturating_duration_since(began);
        self.tally.recording(offset.as_secs_f64())
    }

    /// What went wrong so far, if nothing comes any more.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.tally.checker.faults()
    }

    /// How long to wait for something to happen.
    fn patience(&self, now: Instant) -> Duration {
        let left = self.due.saturating_duration_since(now);
        match left {
            _ if self.is_spinning => Duration::ZERO,
            Duration::ZERO => LOOK_EVERY,
            left => left.min(LOOK_EVERY),
        }
    }

    fn is_done(&self, limit: usize) -> bool {
        self.tally.delivered >= self.expected
            && self
                .publishers
                .iter()
                .all(|publisher| !publisher.is_waiting() && publisher.next(limit).is_none())
    }

    fn begin_due(&mut self, limit: usize, now: Instant) -> anyhow::Result<()> {
        if self.pace == Pace::OneAtATime {
            let is_busy = self.publishers.iter().any(Publisher::is_waiting);
            if is_busy || self.tally.delivered < self.expected {
                return Ok(());
            }
        }
        let (began, audience, mut next) = (self.began, self.audience, self.turn);
        let (later, first) = self.publishers.split_at_mut(self.turn);
        for (publisher, turn) in first.iter_mut().chain(later).zip(self.turn + 1..) {
            let sent_at = match self.pace {
                Pace::Open(_) if self.due > now => break,
                Pace::Open(_) => self.due,
                _ => Instant::now(),
            };
            let Some(post) = publisher.next(limit).filter(|_| !publisher.is_waiting()) else {
                continue;
            };
            let sent_at = nanoseconds(sent_at.saturating_duration_since(began));
            self.tally.sent(post.first.stream, post.events, sent_at);
            self.expected += u64::from(post.events) * audience;
            publisher.begin()?;
            match self.pace {
                Pace::Saturated => {}
                Pace::OneAtATime => break,
                Pace::Open(pause) => {
                    self.due += pause;
                    next = turn;
                }
            }
        }
        self.turn = next.checked_rem(self.publishers.len()).unwrap_or_default();
        Ok(())
    }

    fn attend(&mut self, token: u64) -> anyhow::Result<()> {
        if let Some(publisher) = token.checked_sub(PUBLISHERS) {
            let publisher = &mut self.publishers[usize::try_from(publisher)?];
            publisher.go_on()?;
            return Ok(());
        }
        let number = usize::try_from(token)?;
        let Self { tally, subscribers, buffer, began, .. } = self;
        let subscriber = &mut subscribers[number];
        let mut now = None;
        let open = subscriber.receive(buffer, |delivered| {
            let now = *now.get_or_insert_with(|| nanoseconds(began.elapsed()));
            tally.take(number, delivered, now);
        });
        if !open.with_context(|| format!("subscriber {number}"))? {
            tally.take_close(nanoseconds(began.elapsed()));
        }
        Ok(())
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
