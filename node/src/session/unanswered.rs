//! What a connection waits for: a few short-lived futures, each with what it is about. Most connections
//! wait for nothing most of the time, and keep no buffer for it.

use std::pin::Pin;
use std::task::{Context, Poll};

/// A future whose answer is waited for.
pub(super) type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Futures that have no answer yet, by what they are about.
pub(super) struct Unanswered<K, T>(Vec<(K, Answering<T>)>);

impl<K, T> Unanswered<K, T> {
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, about: K, answering: Answering<T>) {
        self.0.push((about, answering));
    }

    pub(super) fn any(&self, is_meant: impl Fn(&K) -> bool) -> bool {
        self.0.iter().any(|(about, _)| is_meant(about))
    }

    /// Gives up those whose answers are of no interest any more.
    pub(super) fn forget(&mut self, is_meant: impl Fn(&K) -> bool) {
        self.0.retain(|(about, _)| !is_meant(about));
        self.free_if_empty();
    }

    /// Ready when any has its answer; it is taken out.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<(K, T)> {
        for index in 0..self.0.len() {
            if let Poll::Ready(answer) = self.0[index].1.as_mut().poll(context) {
                let (about, _) = self.0.swap_remove(index);
                self.free_if_empty();
                return Poll::Ready((about, answer));
            }
        }
        Poll::Pending
    }

    fn free_if_empty(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

// Derived, it would ask the same of `K` and `T`.
impl<K, T> Default for Unanswered<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_waits_for_nothing_keeps_no_buffer() {
        let mut context = Context::from_waker(Waker::noop());
        let mut unanswered = Unanswered::default();
        unanswered.push(1, Box::pin(pending()));
        unanswered.push(2, Box::pin(ready("answer")));
        assert_eq!(unanswered.poll(&mut context), Poll::Ready((2, "answer")));
        assert!(unanswered.poll(&mut context).is_pending());
        unanswered.forget(|about| *about == 1);
        assert_eq!((unanswered.len(), unanswered.0.capacity()), (0, 0));
        unanswered.push(3, Box::pin(ready("answer")));
        assert!(unanswered.poll(&mut context).is_ready());
        assert_eq!(unanswered.0.capacity(), 0);
    }
}
