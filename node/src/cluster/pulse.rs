//! Whether this process was stopped: a thread notes the time ten times a second, and whoever finds
//! that note too old knows that the other nodes have gone on without this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::Moment;

use crate::clock::Clock;

/// How often the time is noted.
const EVERY: Duration = Duration::from_millis(100);
/// The age of the note from which on the process was stopped: others suspect it by then.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);

/// The handle. A node without a cluster has one that nobody notes the time in: it is never late.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Starts the thread; `on_pause` is called when the process was stopped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(&self, clock: Clock, on_pause: impl Fn() + Send + 'static) -> std::io::Result<()> {
        let note = Arc::downgrade(&self.0);
        self.0.store(clock.moment().micros(), Ordering::Release);
        let beat = move || {
            while let Some(note) = note.upgrade() {
                let now = clock.moment();
                // The note stays as it is: whoever looks at it must see that it is late.
                if now.since(Moment::from_micros(note.load(Ordering::Acquire))) > PAUSE_MAX {
                    return on_pause();
                }
                note.store(now.micros(), Ordering::Release);
                drop(note);
                std::thread::sleep(EVERY);
            }
        };
        std::thread::Builder::new().name("pulse".into()).spawn(beat).map(drop)
    }

    /// Whether the process was stopped and must not act on what it believes.
    #[must_use]
    pub fn is_late(&self, now: Moment) -> bool {
        let note = self.0.load(Ordering::Acquire);
        note != 0 && now.since(Moment::from_micros(note)) > PAUSE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_is_too_old_is_late_and_stays_late() {
        let (pulse, clock) = (Pulse::default(), Clock::start());
        assert!(!pulse.is_late(clock.moment()));
        let old = clock.moment().micros() - 2_000_000;
        pulse.0.store(old, Ordering::Release);
        assert!(pulse.is_late(clock.moment()));
    }
}
