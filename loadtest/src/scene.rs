//! Clients that come and go while events are published: one epoll loop on one thread, in which any
//! number of connections may be on their way. What happens when is the scenario's; what goes wrong is
//! counted exactly.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::checker::{Checker, Faults};
use crate::dialect::channel_name;
use crate::mark::Mark;
use crate::poll::{Interest, Poll};
use crate::publisher::Publisher;
use crate::recording::Recording;
use crate::server::Target;
use crate::subscriber::Subscriber;
use crate::tally::Tally;
use crate::traffic::nanoseconds;

mod arrival;
mod arrivals;
mod attend;
pub mod pulse;

use arrival::Arrival;
pub use arrival::Seat;
pub use arrivals::Arrivals;

/// Tokens from here on are publishers'.
const PUBLISHERS: u64 = 1 << 32;
/// How long nothing may arrive before what is outstanding counts as lost, and nobody before a server is
/// given up.
const STALL_MAX: Duration = Duration::from_secs(5);
/// How many come at once where that is not what is measured: far below any listening queue.
const AT_ONCE: usize = 64;
/// What the kernel is to take for a sluggard, so that the rest waits with the server. It is said before
/// the connection is made: a window that shrinks afterwards makes the server's kernel send again and
/// again, at ever longer intervals.
const SLUGGARD_BYTES: usize = 32 * 1024;
/// How long a turn waits at most.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Everything that goes on in one round. Its times are ns since it was made.
#[derive(Debug)]
pub struct Scene<'a> {
    target: &'a Target,
    poll: Poll,
    clients: Vec<Client>,
    /// How many of them are on their way.
    coming: usize,
    publishers: Vec<(Publisher, VecDeque<Due>)>,
    /// Bytes of an event's data.
    bytes: usize,
    /// What subscribers got.
    pub tally: Tally,
    /// How connections came.
    pub arrivals: Arrivals,
    /// How often visitors were told that they have joined.
    pub visits: u64,
    /// Clients whose last attempt to come failed.
    pub failed: VecDeque<usize>,
    /// Sluggards that the server closed, with the code that it gave.
    pub let_go: Vec<(usize, Option<u16>)>,
    buffer: Vec<u8>,
    began: Instant,
}

/// One that may be there or not.
#[derive(Debug)]
struct Client {
    seat: Seat,
    role: Role,
    state: State,
    /// When it was to come.
    due_ns: u64,
    /// What the server calls it.
    socket_id: Option<String>,
}

#[derive(Debug)]
enum State {
    Away,
    Coming(Arrival),
    Here(Subscriber),
    /// It is there and does not read.
    Deaf(Subscriber),
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It gets events, and must get all of them.
    Subscriber,
    /// The same, but the server may close it.
    Sluggard,
    /// It is told who joins and who leaves.
    Member,
    /// It comes and goes, and nobody asks what it gets.
    Visitor,
}

/// An event that waits for its publisher.
#[derive(Clone, Copy, Debug)]
struct Due {
    stream: u32,
    channel: u32,
    at_ns: u64,
}

impl<'a> Scene<'a> {
    /// An empty scene: nobody has come, nothing is published. The checker is asked about clients by the
    /// order in which they are added.
    ///
    /// # Errors
    /// If publishers cannot connect.
    pub fn new(
        target: &'a Target,
        (checker, streams): (Checker, usize),
        (publishers, bytes): (u32, u32),
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connected = Vec::new();
        for token in (PUBLISHERS..).take(publishers as usize) {
            let publisher = Publisher::connect(target, crate::publisher::Script::default())?;
            poll.add(publisher.stream(), token, Interest::Changes)?;
            connected.push((publisher, VecDeque::new()));
        }
        Ok(Self {
            target,
            poll,
            clients: Vec::new(),
            coming: 0,
            publishers: connected,
            bytes: bytes as usize,
            tally: Tally::new(checker, streams),
            arrivals: Arrivals::new(),
            visits: 0,
            failed: VecDeque::new(),
            let_go: Vec::new(),
            buffer: vec![0; 256 * 1024],
            began: Instant::now(),
        })
    }

    /// Where the server is.
    #[must_use]
    pub const fn target(&self) -> &'a Target {
        self.target
    }

    /// The time.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    /// Adds a client, who is away. Returns its number.
    pub fn add(&mut self, seat: Seat, role: Role) -> usize {
        let state = State::Away;
        self.clients.push(Client { seat, role, state, due_ns: 0, socket_id: None });
        self.clients.len() - 1
    }

    /// A client begins to come; its latency counts from `due_ns` on.
    ///
    /// # Errors
    /// If there is no socket for it.
    pub fn come(&mut self, number: usize, due_ns: u64) -> anyhow::Result<()> {
        let client = &mut self.clients[number];
        let room = (client.role == Role::Sluggard).then_some(SLUGGARD_BYTES);
        let arrival = Arrival::begin(self.target, (number, room), &client.seat)?;
        self.poll.add(arrival.stream(), number as u64, Interest::Changes)?;
        client.due_ns = due_ns;
        client.state = State::Coming(arrival);
        self.coming += 1;
        self.arrivals.timeline.published(due_ns, 1);
        Ok(())
    }

    /// A client is cut off: its connection is reset, and the server is told nothing else.
    pub fn cut(&mut self, number: usize) {
        let before = std::mem::replace(&mut self.clients[number].state, State::Away);
        self.coming -= usize::from(matches!(before, State::Coming(_)));
        if self.clients[number].role != Role::Visitor {
            self.tally.checker.leave(number);
        }
    }

    /// A client stops reading. What it is sent waits with the kernel, and then with the server.
    ///
    /// # Errors
    /// The operating system's.
    pub fn deafen(&mut self, number: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[number];
        match std::mem::replace(&mut client.state, State::Away) {
            State::Here(subscriber) => {
                self.poll.remove(subscriber.stream())?;
                client.state = State::Deaf(subscriber);
            }
            other => client.state = other,
        }
        Ok(())
    }

    /// A client reads again.
    ///
    /// # Errors
    /// The operating system's.
    pub fn listen(&mut self, number: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[number];
        match std::mem::replace(&mut client.state, State::Away) {
            State::Deaf(subscriber) => {
                self.poll.add(subscriber.stream(), number as u64, Interest::Read)?;
                client.state = State::Here(subscriber);
            }
            other => client.state = other,
        }
        Ok(())
    }

    /// How many are on their way.
    #[must_use]
    pub const fn coming(&self) -> usize {
        self.coming
    }

    /// Whether this one is there.
    #[must_use]
    pub fn is_here(&self, number: usize) -> bool {
        matches!(self.clients[number].state, State::Here(_))
    }

    /// An event is to be published to a channel, as the next of a stream, as soon as the stream's
    /// publisher is free; its latency counts from `at_ns` on.
    ///
    /// # Errors
    /// If the server goes away.
    pub fn publish(&mut self, (stream, channel): (u32, u32), at_ns: u64) -> anyhow::Result<()> {
        let publisher = stream as usize % self.publishers.len();
        self.publishers[publisher].1.push_back(Due { stream, channel, at_ns });
        self.begin(publisher)
    }

    /// Begins the next request of a publisher who is free.
    fn begin(&mut self, number: usize) -> anyhow::Result<()> {
        let (publisher, queue) = &mut self.publishers[number];
        if publisher.is_waiting() {
            return Ok(());
        }
        let Some(Due { stream, channel, at_ns }) = queue.pop_front() else { return Ok(()) };
        let number = self.tally.checker.publish(stream);
        self.tally.sent(stream, 1, at_ns);
        let data = Mark { stream, number }.data(self.bytes);
        let mut request = Vec::new();
        self.target.dialect.publish(&mut request, &channel_name(channel as usize), &[data]);
        publisher.send(request)
    }

    /// A client says something, as it is, in a text frame.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn say(&mut self, number: usize, words: &str) -> anyhow::Result<()> {
        match &self.clients[number].state {
            State::Here(subscriber) => subscriber.send(&arrival::text(words)),
            _ => Ok(()),
        }
    }

    /// What the server calls a client.
    #[must_use]
    pub fn socket_id(&self, number: usize) -> &str {
        self.clients[number].socket_id.as_deref().unwrap_or_default()
    }

    /// Waits for something to happen, for so long at most, and attends to it.
    ///
    /// # Errors
    /// If the server breaks the protocol.
    pub fn turn(&mut self, patience: Duration) -> anyhow::Result<usize> {
        let count = self.poll.wait(Some(patience.min(LOOK_EVERY)))?;
        for index in 0..count {
            let (token, _) = self.poll.ready(index);
            self.attend(token)?;
        }
        Ok(count)
    }

    /// Goes on for a time.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn rest(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left)?;
        }
    }

    /// Waits until all that was published has arrived, or until nothing comes any more.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn settle(&mut self) -> anyhow::Result<()> {
        let mut last = (Instant::now(), u64::MAX);
        loop {
            let is_busy =
                |(p, queue): &(Publisher, VecDeque<Due>)| p.is_waiting() || !queue.is_empty();
            let left = self.tally.checker.outstanding();
            if left == 0 && !self.publishers.iter().any(is_busy) {
                return Ok(());
            }
            if left != last.1 {
                last = (Instant::now(), left);
            } else if last.0.elapsed() > STALL_MAX {
                return Ok(());
            }
            self.turn(LOOK_EVERY)?;
        }
    }

    /// What went wrong, if nothing comes any more.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.tally.checker.faults()
    }

    /// What is recorded, if nothing comes any more; `began` is when the round did.
    #[must_use]
    pub fn recording(&mut self, began: Instant) -> Recording {
        let offset = self.began.saturating_duration_since(began).as_secs_f64();
        let arrivals = self.arrivals.timeline.over_time(offset);
        Recording { arrivals, ..self.tally.recording(offset) }
    }

    /// Lets everybody in who is meant to be there from the beginning, some at a time.
    ///
    /// # Errors
    /// If the server refuses one, or lets nobody in for some time.
    pub fn assemble(&mut self, numbers: impl IntoIterator<Item = usize>) -> anyhow::Result<()> {
        let mut numbers = numbers.into_iter().peekable();
        let mut last = (Instant::now(), self.arrivals.came);
        while self.coming > 0 || numbers.peek().is_some() {
            while self.coming < AT_ONCE
                && let Some(number) = numbers.next()
            {
                self.come(number, self.now_ns())?;
            }
            self.turn(LOOK_EVERY)?;
            let why = self.arrivals.reason.as_deref().unwrap_or_default();
            ensure!(self.failed.is_empty(), "a client did not come: {why}");
            if self.arrivals.came != last.1 {
                last = (Instant::now(), self.arrivals.came);
            }
            let is_going_on = last.0.elapsed() < STALL_MAX;
            ensure!(is_going_on, "the server has let nobody in for {STALL_MAX:?}");
        }
        Ok(())
    }
}

impl Client {
    /// Whoever was coming is there.
    fn arrive(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Away) {
            State::Coming(arrival) => {
                let (subscriber, socket_id) = arrival.finish();
                self.socket_id = socket_id;
                State::Here(subscriber)
            }
            other => other,
        };
    }
}

#[cfg(test)]
mod tests;
