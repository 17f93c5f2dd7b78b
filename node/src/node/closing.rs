//! The end of all connections of a node that goes away: evenly over a while, so that the nodes that
//! stay are not met by all clients at once.

use std::time::Duration;

use proto::door::Close;
use proto::pusher::code::CloseCode;
use tokio::time::{Instant, sleep};

use crate::random;
use crate::relay::Relay;

/// How often some are closed.
const STEP: Duration = Duration::from_millis(50);
/// How long the last may take to go when they are closed all at once.
const LAST: Duration = Duration::from_millis(250);

/// Closes all connections within the window.
pub(super) async fn close(relay: &Relay, window: Duration) {
    let close = going_away();
    let total = relay.close(0, &close).await.remaining;
    // Several nodes must not fall into step.
    sleep(STEP.mul_f64(random::fraction())).await;
    let (began, mut closed) = (Instant::now(), 0);
    loop {
        let elapsed = began.elapsed();
        let done = relay.close(Pace { total, window }.step(closed, elapsed), &close).await;
        closed += done.closed;
        if done.remaining == 0 {
            return;
        }
        if elapsed >= window {
            tracing::warn!(done.remaining, "the drain window is over; the rest is closed at once");
            return close_at_once(relay).await;
        }
        sleep(STEP).await;
    }
}

/// Closes all connections, and gives them a moment to go.
pub(super) async fn close_at_once(relay: &Relay) {
    relay.close(usize::MAX, &going_away()).await;
    sleep(LAST).await;
}

/// What clients of a node that shuts down are told.
fn going_away() -> Close {
    CloseCode::Reconnect.because("the server is going away; reconnect")
}

/// How fast so many connections are closed.
#[derive(Clone, Copy, Debug)]
struct Pace {
    total: usize,
    window: Duration,
}

impl Pace {
    /// How many are to be closed now. What was not closed in time is made up for at twice the usual
    /// rate, and no faster. The last fifth of the window is for clients that are slow to go.
    fn step(self, closed: usize, elapsed: Duration) -> usize {
        let span = self.window.mul_f64(0.8).max(STEP);
        let share = |time: Duration| {
            let total = u128::try_from(self.total).unwrap_or(u128::MAX);
            let due = total.saturating_mul(time.as_micros()).div_ceil(span.as_micros());
            usize::try_from(due).unwrap_or(usize::MAX)
        };
        share(elapsed).min(self.total).saturating_sub(closed).min(share(2 * STEP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closes at every step, with pauses in between that are now and then longer; returns the most in
    /// any 250 ms, and how many are left after four fifths of the window.
    fn run(total: usize, window: Duration, pauses: &[u64]) -> (usize, usize) {
        let pace = Pace { total, window };
        let (mut closed, mut at, mut steps) = (0, Duration::ZERO, Vec::new());
        for pause in pauses.iter().cycle() {
            let step = pace.step(closed, at);
            closed += step;
            steps.push((at, step));
            if at >= window.mul_f64(0.85) {
                break;
            }
            at += Duration::from_millis(*pause);
        }
        let within = |from: Duration| {
            let times = steps.iter().filter(|(at, _)| (from..from + LAST).contains(at));
            times.map(|(_, step)| step).sum::<usize>()
        };
        (steps.iter().map(|(at, _)| within(*at)).max().unwrap(), total - closed)
    }

    #[test]
    fn no_quarter_of_a_second_closes_more_than_a_twentieth() {
        let window = Duration::from_secs(20);
        for total in [100, 133, 226, 1_000, 99_999] {
            let (most, left) = run(total, window, &[50]);
            assert!(most * 100 <= 2 * total + 200, "{most} of {total}");
            assert_eq!(left, 0);
            // Held up for a second now and then.
            let mut pauses = [50; 40];
            pauses[20] = 1_000;
            let (most, left) = run(total, window, &pauses);
            assert!(most * 20 <= total + 20, "{most} of {total}");
            assert!(left * 20 <= total, "{left} of {total}");
        }
    }

    #[test]
    fn a_window_that_is_too_short_for_steps_closes_all_at_once() {
        let pace = Pace { total: 500, window: Duration::from_millis(10) };
        assert_eq!(pace.step(0, Duration::from_millis(50)), 500);
        assert_eq!(Pace { total: 0, ..pace }.step(0, Duration::from_secs(9)), 0);
    }
}
