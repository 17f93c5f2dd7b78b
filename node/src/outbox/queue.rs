//! The frames that wait for one connection, oldest first, and which of them can go when there is no room.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use proto::event::Priority;
use tokio::time::Instant;

/// Frames that leave in one system call at most. Linux takes up to 1,024; beyond some tens the call
/// costs no less per frame.
pub(super) const FRAMES_PER_WRITE: usize = 64;

/// Something to send, and what may become of it while it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// It, encoded.
    pub bytes: Bytes,
    /// Which of several goes first when there is no room.
    pub priority: Priority,
    /// When nobody wants it any more.
    pub expires: Option<Instant>,
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, priority: Priority::Normal, expires: None }
    }
}

/// The queue. A first frame that was written in part stays whatever it is.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Frame>,
    has_begun: bool,
    bytes: usize,
    /// How many can be shed: mostly none, and then nobody looks for them.
    low: usize,
    /// No frame expires before this; none if none does.
    expires: Option<Instant>,
}

const fn is_low(frame: &Frame) -> bool {
    matches!(frame.priority, Priority::Low)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of all frames.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, frame: Frame) {
        if !frame.bytes.is_empty() {
            self.bytes += frame.bytes.len();
            self.low += usize::from(is_low(&frame));
            self.expires = earlier(self.expires, frame.expires);
            self.frames.push_back(frame);
        }
    }

    /// Queues what is left of a frame of `whole` bytes, before which nothing waits.
    pub(super) fn push_rest(&mut self, frame: Frame, whole: usize) {
        self.has_begun = !frame.bytes.is_empty() && frame.bytes.len() < whole;
        self.push(frame);
    }

    /// The first frame.
    pub(super) fn first(&self) -> Option<&Bytes> {
        self.frames.front().map(|frame| &frame.bytes)
    }

    /// Takes out the first frames that are still wanted, so many at most.
    pub(super) fn take(&mut self, frames_max: usize) -> Vec<Bytes> {
        self.expire();
        let count = self.frames.len().min(frames_max);
        let taken: Vec<Frame> = self.frames.drain(..count).collect();
        self.has_begun = false;
        for frame in &taken {
            self.forget(frame);
        }
        taken.into_iter().map(|frame| frame.bytes).collect()
    }

    /// Puts what waits elsewhere before what waits here.
    pub(super) fn prepend(&mut self, mut first: Self) {
        first.frames.append(&mut self.frames);
        self.frames = first.frames;
        self.has_begun = first.has_begun;
        self.bytes += first.bytes;
        self.low += first.low;
        self.expires = earlier(self.expires, first.expires);
    }

    /// Forgets all but a first frame that has begun.
    pub(super) fn cut(&mut self) {
        self.keep(|_| false);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Drops the events of low priority that wait, and returns how many they were.
    pub(super) fn shed(&mut self) -> usize {
        match self.low {
            0 => 0,
            _ => self.keep(|frame| !is_low(frame)),
        }
    }

    /// Drops what nobody wants any more.
    pub(super) fn expire(&mut self) {
        if self.expires.is_some() {
            self.expire_at(Instant::now());
        }
    }

    fn expire_at(&mut self, now: Instant) {
        if self.expires.is_some_and(|first| first <= now) {
            self.keep(|frame| frame.expires.is_none_or(|expires| now < expires));
        }
    }

    /// Drops what is not to be kept, and returns how many that was.
    fn keep(&mut self, mut is_kept: impl FnMut(&Frame) -> bool) -> usize {
        let before = self.frames.len();
        let mut is_begun = self.has_begun;
        (self.bytes, self.low, self.expires) = (0, 0, None);
        self.frames.retain(|frame| {
            let is_left = std::mem::take(&mut is_begun) || is_kept(frame);
            if is_left {
                self.bytes += frame.bytes.len();
                self.low += usize::from(is_low(frame));
                self.expires = earlier(self.expires, frame.expires);
            }
            is_left
        });
        before - self.frames.len()
    }

    fn forget(&mut self, frame: &Frame) {
        self.bytes -= frame.bytes.len();
        self.low -= usize::from(is_low(frame));
        if self.frames.is_empty() {
            self.expires = None;
        }
    }

    pub(super) fn slices(&self) -> ([IoSlice<'_>; FRAMES_PER_WRITE], usize) {
        let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(&frame.bytes);
            count += 1;
        }
        (slices, count)
    }

    /// Takes `written` bytes off the front. A frame that left in part keeps its rest.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.frames.front_mut() {
            if written < front.bytes.len() {
                bytes::Buf::advance(&mut front.bytes, written);
                self.bytes -= written;
                self.has_begun |= written > 0;
                return;
            }
            written -= front.bytes.len();
            self.has_begun = false;
            if let Some(frame) = self.frames.pop_front() {
                self.forget(&frame);
            }
        }
        // An idle connection keeps no buffer.
        self.frames.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(text: &'static str, priority: Priority, expires: Option<Instant>) -> Frame {
        Frame { bytes: Bytes::from_static(text.as_bytes()), priority, expires }
    }

    #[test]
    fn what_has_expired_is_not_sent_unless_it_has_begun() {
        let (mut queue, soon) = (Queue::default(), Instant::now() + Duration::from_secs(600));
        queue.push(frame("begun", Priority::Normal, Some(soon)));
        queue.push(frame("short", Priority::High, Some(soon)));
        queue.push(frame("long", Priority::Low, Some(soon + Duration::from_secs(1))));
        queue.push(frame("ever", Priority::Normal, None));
        queue.advance(1);
        queue.expire_at(soon);
        assert_eq!(queue.take(9), ["egun", "long", "ever"]);
        assert_eq!((queue.bytes(), queue.low, queue.expires), (0, 0, None));
    }

    #[test]
    fn what_is_low_is_shed() {
        let mut queue = Queue::default();
        for (text, priority) in [
            ("a", Priority::Low),
            ("b", Priority::Low),
            ("c", Priority::High),
            ("d", Priority::Low),
        ] {
            queue.push(frame(text, priority, None));
        }
        queue.advance(0);
        assert_eq!((queue.shed(), queue.bytes()), (3, 1));
        assert_eq!((queue.shed(), queue.bytes()), (0, 1));
        let mut heir = Queue::default();
        heir.push(frame("e", Priority::Low, None));
        heir.prepend(queue);
        assert_eq!((heir.bytes(), heir.low), (2, 1));
        assert_eq!(heir.take(9), ["c", "e"]);
    }

    #[test]
    fn a_cut_leaves_what_has_begun_and_nothing_else() {
        for (written, left) in [(0, vec![]), (1, vec!["egun"])] {
            let mut queue = Queue::default();
            queue.push(frame("begun", Priority::Normal, None));
            queue.push(frame("next", Priority::High, None));
            queue.advance(written);
            queue.cut();
            assert_eq!(queue.bytes(), left.concat().len());
            assert_eq!(queue.take(9), left);
        }
    }
}
