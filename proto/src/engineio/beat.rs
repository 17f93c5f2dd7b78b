//! The heartbeat: the server pings, the client answers in time.

use crate::time::{Moment, Now};

use super::handshake::Timing;

/// What the heartbeat waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// The time to ping.
    Ping(Moment),
    /// The pong, until then.
    Pong(Moment),
}

impl Beat {
    /// The heartbeat of a client that is known to live.
    pub(super) fn heard(timing: &Timing, now: Now) -> Self {
        Self::Ping(now.moment + timing.ping_interval)
    }

    /// When something is to be done if nothing is heard.
    pub(super) const fn deadline(self) -> Moment {
        match self {
            Self::Ping(at) | Self::Pong(at) => at,
        }
    }

    /// Whether the client's time to answer is over.
    pub(super) fn is_over(self, now: Now) -> bool {
        matches!(self, Self::Pong(until) if until <= now.moment)
    }

    /// Whether to ping; the pong is waited for then.
    pub(super) fn is_due(&mut self, timing: &Timing, now: Now) -> bool {
        let Self::Ping(due) = *self else { return false };
        if now.moment < due {
            return false;
        }
        // Counted from when the ping was due; but if this server was held up, the client is not to
        // blame.
        let timeout = timing.ping_timeout;
        *self = Self::Pong((due + timeout).max(now.moment + timeout / 2));
        true
    }
}
