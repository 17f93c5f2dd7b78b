//! The link between two nodes: messages go out in batches, in order, each once, however often the
//! connection beneath it breaks; and neither side ever holds more than a stated amount for the other.
//!
//! A batch is kept until it is acknowledged and sent again after a reconnect. When the backlog
//! overflows, or the peer has forgotten us, the link **resets**: a new generation begins with nothing
//! in it, and the users of the link are told that something may be lost.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Moment;

mod frame;

pub use frame::{Frame, FrameError, Health, Messages, Received};

use frame::{Header, split};

/// The version of frames and messages: nodes of two of them refuse each other. What is only added has a
/// minor number beside it, and is left out for a peer whose minor number is smaller. 1 was never
/// released.
pub const WIRE: u16 = 2;
/// Bytes of messages from which on a batch is closed.
const BATCH_BYTES: usize = 64 * 1024;
/// Batches in flight at most.
const WINDOW_BATCHES: usize = 64;
/// Bytes in flight at most, beyond the first batch.
const WINDOW_BYTES: usize = 4 << 20;
/// Bytes that wait for a peer at most, those in flight included.
pub const BACKLOG_BYTES_MAX: usize = 16 << 20;
/// The largest message.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// The largest piece of a message in one batch; what is larger is put together on arrival.
const PART_BYTES: usize = 256 * 1024;
/// The kind of all pieces of a message but its last.
const PART: u8 = 0;
/// How often a sign of life is sent when nothing else is.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Received batches after which an acknowledgement is sent at once.
const ACK_EVERY: u64 = 8;
/// How long an acknowledgement may wait for company.
const ACK_WITHIN: Duration = Duration::from_millis(2);
/// Without an acknowledgement for so long what is in flight is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(700);
/// Silence, or lack of progress, after which a peer is suspected.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(1_500);
/// Silence, or lack of progress, after which the connection is given up.
pub const STALLED_AFTER: Duration = Duration::from_secs(3);

/// In place of an acknowledgement: the stream is not known.
const FORGOTTEN: u64 = u64::MAX;

/// There is too much for the peer already: the link has to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{BACKLOG_BYTES_MAX} bytes wait for the peer already")]
pub struct Overflow;

#[derive(Clone, Debug)]
struct Batch {
    number: u64,
    bytes: Vec<u8>,
    sent: Moment,
}

/// One end of a link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which beginning of our stream this is: larger is later.
    generation: u64,
    open: Vec<u8>,
    last: u64,
    batches: VecDeque<Batch>,
    bytes: usize,
    /// How many of `batches` were sent over the present connection.
    sent: usize,
    progress: Moment,
    round_trip: Duration,
    connected: bool,
    heard: Moment,
    told: Moment,
    /// The latest time of the peer's that we have seen.
    peer_time: u64,
    /// The latest time of ours that the peer has seen.
    proof: Moment,
    peer_generation: u64,
    received: u64,
    done: u64,
    acknowledged: u64,
    is_answer_due: bool,
    /// A stream of the peer's of which we lack the beginning.
    unknown: Option<u64>,
    /// The pieces so far of a message from the peer.
    partial: Vec<u8>,
}

impl Link {
    /// A link that has no connection yet. `generation` is larger than in any earlier link from this
    /// node to the same peer.
    #[must_use]
    pub const fn new(generation: u64, now: Moment) -> Self {
        Self {
            generation,
            open: Vec::new(),
            last: 0,
            batches: VecDeque::new(),
            bytes: 0,
            sent: 0,
            progress: now,
            round_trip: Duration::ZERO,
            connected: false,
            heard: now,
            told: now,
            peer_time: 0,
            proof: Moment::from_micros(0),
            peer_generation: 0,
            received: 0,
            done: 0,
            acknowledged: 0,
            is_answer_due: false,
            unknown: None,
            partial: Vec::new(),
        }
    }

    /// There is a connection: everything that is not acknowledged is sent over it.
    pub const fn connected(&mut self, now: Moment) {
        self.connected = true;
        self.sent = 0;
        self.heard = now;
        self.progress = now;
        self.is_answer_due = true;
    }

    /// The connection is gone.
    pub const fn disconnected(&mut self) {
        self.connected = false;
        self.sent = 0;
    }

    /// Whether there is a connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Forgets everything on its way to the peer and begins anew.
    pub fn reset(&mut self, now: Moment) {
        self.generation += 1;
        self.open = Vec::new();
        self.batches = VecDeque::new();
        (self.bytes, self.sent, self.last) = (0, 0, 0);
        self.progress = now;
        self.is_answer_due = true;
    }

    /// Adds a message to what is to be sent.
    ///
    /// # Errors
    /// [`Overflow`]: nothing was added.
    pub fn push(&mut self, kind: u8, body: &[u8]) -> Result<(), Overflow> {
        let size = body.len() + 5;
        if self.bytes + size > BACKLOG_BYTES_MAX || body.len() > MESSAGE_BYTES_MAX {
            return Err(Overflow);
        }
        let mut rest = body;
        while let Some((part, more)) = rest.split_at_checked(PART_BYTES) {
            self.append(PART, part);
            rest = more;
        }
        self.append(kind, rest);
        Ok(())
    }

    fn append(&mut self, kind: u8, body: &[u8]) {
        self.bytes += body.len() + 5;
        self.open.push(kind);
        #[allow(clippy::cast_possible_truncation)] // At most PART_BYTES.
        self.open.extend_from_slice(&(body.len() as u32).to_be_bytes());
        self.open.extend_from_slice(body);
        if self.open.len() >= BATCH_BYTES {
            self.close_batch();
        }
    }

    fn close_batch(&mut self) {
        self.last += 1;
        let bytes = std::mem::take(&mut self.open);
        self.batches.push_back(Batch { number: self.last, bytes, sent: Moment::default() });
    }

    /// The next frame to send now, if any. Called until there is none.
    pub fn poll(&mut self, now: Moment) -> Option<Frame> {
        if !self.connected {
            return None;
        }
        let may_send =
            self.sent == 0 || self.sent < WINDOW_BATCHES && self.in_flight() < WINDOW_BYTES;
        if may_send {
            if self.sent == self.batches.len() && !self.open.is_empty() {
                self.close_batch();
            }
            if let Some(batch) = self.batches.get_mut(self.sent) {
                batch.sent = now;
            }
            if let Some(batch) = self.batches.get(self.sent) {
                if self.sent == 0 {
                    self.progress = now;
                }
                self.sent += 1;
                let bytes = self.frame(batch.number, &batch.bytes, now);
                self.answered(now);
                return Some(Frame { is_batch: true, bytes });
            }
        }
        let is_ack_due = self.done > self.acknowledged
            && (self.done - self.acknowledged >= ACK_EVERY || now.since(self.told) >= ACK_WITHIN);
        if is_ack_due || self.is_answer_due || now.since(self.told) >= HEARTBEAT {
            let bytes = self.frame(0, &[], now);
            self.answered(now);
            return Some(Frame { is_batch: false, bytes });
        }
        None
    }

    const fn answered(&mut self, now: Moment) {
        self.acknowledged = self.done;
        self.is_answer_due = false;
        self.unknown = None;
        self.told = now;
    }

    /// The number of the first batch that the peer may lack.
    fn oldest(&self) -> u64 {
        self.batches.front().map_or(self.last + 1, |batch| batch.number)
    }

    fn in_flight(&self) -> usize {
        self.batches.iter().take(self.sent).map(|batch| batch.bytes.len()).sum()
    }

    fn frame(&self, number: u64, messages: &[u8], now: Moment) -> Vec<u8> {
        let (known, done) = match self.unknown {
            Some(generation) => (generation, FORGOTTEN),
            None => (self.peer_generation, self.done),
        };
        let (generation, oldest) = (self.generation, self.oldest());
        let (mine, theirs) = (now.micros(), self.peer_time);
        Header { generation, number, oldest, known, done, mine, theirs }.encode(messages)
    }

    /// Takes in a frame from the peer.
    ///
    /// # Errors
    /// [`FrameError`]; the frame changed nothing.
    pub fn receive(&mut self, frame: Bytes, now: Moment) -> Result<Received, FrameError> {
        let (header, messages) = Header::decode(frame)?;
        let messages = split(messages)?;
        self.heard = now;
        self.peer_time = self.peer_time.max(header.mine);
        self.proof = self.proof.max(Moment::from_micros(header.theirs));
        let is_forgotten = self.acknowledge(header.known, header.done, now);
        let (is_restarted, messages) = self.accept(&header, messages);
        Ok(Received { is_restarted, is_forgotten, messages })
    }

    /// Whether the peer began anew, and the messages that are next.
    fn accept(&mut self, header: &Header, messages: Messages) -> (bool, Messages) {
        let Header { generation, number, oldest, .. } = *header;
        if generation < self.peer_generation {
            return (false, Vec::new());
        }
        let is_new = generation > self.peer_generation;
        // A stream of which we lack what the peer does not have any more: it learns it from our answer.
        let next = if is_new { 1 } else { self.received + 1 };
        if oldest > next {
            self.is_answer_due = true;
            self.unknown = Some(generation);
            return (false, Vec::new());
        }
        let is_restarted = is_new && self.peer_generation != 0;
        if is_new {
            self.peer_generation = generation;
            (self.received, self.done, self.acknowledged) = (0, 0, 0);
            self.partial = Vec::new();
            self.is_answer_due = true;
        }
        if number == 0 {
            return (is_restarted, Vec::new());
        }
        if number != self.received + 1 {
            self.is_answer_due = true;
            return (is_restarted, Vec::new());
        }
        self.received = number;
        (is_restarted, self.assemble(messages))
    }

    /// Puts the pieces of large messages together.
    fn assemble(&mut self, messages: Messages) -> Messages {
        let is_whole = self.partial.is_empty() && messages.iter().all(|(kind, _)| *kind != PART);
        if is_whole {
            return messages;
        }
        let mut whole = Vec::with_capacity(messages.len());
        for (kind, body) in messages {
            // A peer that breaks the limit of a message is not believed further than that.
            if self.partial.len() + body.len() <= MESSAGE_BYTES_MAX {
                self.partial.extend_from_slice(&body);
            }
            if kind != PART {
                whole.push((kind, std::mem::take(&mut self.partial).into()));
            }
        }
        whole
    }

    /// Takes in an acknowledgement. True if the peer does not know our stream.
    fn acknowledge(&mut self, generation: u64, number: u64, now: Moment) -> bool {
        if generation != self.generation {
            return false;
        }
        if number == FORGOTTEN {
            // If it never acknowledged the beginning, it will get that yet.
            return self.oldest() > 1;
        }
        while let Some(batch) = self.batches.front()
            && batch.number <= number
        {
            self.bytes -= batch.bytes.len();
            self.round_trip = now.since(batch.sent);
            self.batches.pop_front();
            self.sent = self.sent.saturating_sub(1);
            self.progress = now;
        }
        false
    }

    /// What was received last has been dealt with.
    pub const fn done(&mut self) {
        self.done = self.received;
    }

    /// Does what is due without a cause from outside. True if something is to be sent.
    pub fn tick(&mut self, now: Moment) -> bool {
        if self.sent > 0 && now.since(self.progress) >= RESEND_AFTER {
            self.sent = 0;
            self.progress = now;
        }
        self.connected
    }

    /// How the peer is doing.
    #[must_use]
    pub fn health(&self, now: Moment) -> Health {
        let silent = now.since(self.heard);
        if silent >= STALLED_AFTER {
            Health::Stalled
        } else if silent >= SUSPECT_AFTER {
            Health::Suspect
        } else {
            Health::Up
        }
    }

    /// Whether something was received that is not acknowledged.
    #[must_use]
    pub const fn owes_answer(&self) -> bool {
        self.done > self.acknowledged || self.is_answer_due
    }

    /// A moment at which the peer is known to have heard this node, or rather later: it has seen what
    /// was sent then.
    #[must_use]
    pub const fn proof(&self) -> Moment {
        self.proof
    }

    /// How long the last acknowledgement took, the peer's dealing with the batch included.
    #[must_use]
    pub const fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Bytes that wait or are not acknowledged.
    #[must_use]
    pub const fn backlog(&self) -> usize {
        self.bytes
    }
}
