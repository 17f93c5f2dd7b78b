//! What the loops count: who got what, how long it took, and when.

use hdrhistogram::Histogram;

use crate::checker::{Checker, Taken};
use crate::mark::Mark;
use crate::recording::{Recording, percentiles};
use crate::subscriber::Delivered;
use crate::timeline::Timeline;

/// Latencies are told apart up to this.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// The counts. Times are in ns, by the clock of the loop that takes them.
#[derive(Debug)]
pub struct Tally {
    /// Who got what.
    pub checker: Checker,
    /// When each event was begun, or was to be begun, by stream and number.
    sent_at: Vec<Vec<u64>>,
    /// From publish to receive.
    pub latency: Histogram<u64>,
    /// All of it over time.
    pub timeline: Timeline,
    /// Deliveries that arrived, each once.
    pub delivered: u64,
    /// Bytes of the last event's frame.
    pub frame_bytes: usize,
}

impl Tally {
    /// Nothing yet, of so many streams.
    #[must_use]
    pub fn new(checker: Checker, streams: usize) -> Self {
        Self {
            checker,
            sent_at: vec![Vec::new(); streams],
            latency: histogram(),
            timeline: Timeline::default(),
            delivered: 0,
            frame_bytes: 0,
        }
    }

    /// So many events of a stream, its next ones, were published.
    pub fn sent(&mut self, stream: u32, events: u32, at_ns: u64) {
        self.sent_at[stream as usize].extend(std::iter::repeat_n(at_ns, events as usize));
        self.timeline.published(at_ns, events.into());
    }

    /// An event arrived.
    pub fn take(&mut self, subscriber: usize, delivered: Delivered, now_ns: u64) {
        let Delivered { mark, frame_bytes } = delivered;
        let taken = self.checker.take(subscriber, mark);
        if taken != Taken::InOrder {
            self.timeline.wrong(now_ns);
        }
        if taken == Taken::Never {
            return;
        }
        self.delivered += 1;
        self.frame_bytes = frame_bytes;
        let sent = self.sent_at[mark.stream as usize].get(mark.number as usize);
        let latency = now_ns.saturating_sub(sent.copied().unwrap_or(now_ns));
        self.latency.saturating_record(latency.max(1));
        self.timeline.delivered(now_ns, latency);
    }

    /// An event arrived at somebody whose slowness is its own: only whether it should have is counted.
    pub fn take_late(&mut self, subscriber: usize, mark: Mark, now_ns: u64) {
        if self.checker.take(subscriber, mark) != Taken::InOrder {
            self.timeline.wrong(now_ns);
        }
    }

    /// The server closed a connection.
    pub fn take_close(&mut self, now_ns: u64) {
        self.checker.take_close();
        self.timeline.wrong(now_ns);
    }

    /// Begins the counts anew; what was published stays checked.
    pub fn forget(&mut self, now_ns: u64) {
        self.latency.reset();
        self.delivered = 0;
        self.timeline.restart(now_ns);
    }

    /// What is recorded of it, if nothing comes any more; `began_s` is when the loop's clock began, in
    /// the round.
    #[must_use]
    pub fn recording(&mut self, began_s: f64) -> Recording {
        let Self { checker, sent_at, timeline, latency, .. } = self;
        checker.each_lost(|Mark { stream, number }| {
            let sent = sent_at[stream as usize].get(number as usize);
            timeline.lost(sent.copied().unwrap_or_default());
        });
        Recording {
            percentiles: percentiles(latency),
            traffic: timeline.over_time(began_s),
            ..Recording::default()
        }
    }
}

/// Latencies in ns, three digits of each.
#[must_use]
pub(crate) fn histogram() -> Histogram<u64> {
    let made = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3);
    made.expect("the bounds are constant and in order")
}
