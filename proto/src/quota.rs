//! What an app has in use and how fast it publishes: one ledger per app, kept by the slot that
//! owns the app's name, so that there is one count however many nodes there are.

use crate::app::Limits;
use crate::rate::{Bucket, Rate};
use crate::refusal::Refusal;
use crate::time::Moment;

/// Something that counts against an app's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One more open connection, until [`Quota::release`].
    Connection,
    /// One more live channel, until [`Quota::release`].
    Channel,
    /// So many publishes, now.
    Publishes(u32),
}

/// The ledger of one app.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    connections: u32,
    channels: u32,
    publishes: Bucket,
}

impl Quota {
    /// Grants a demand and books it.
    ///
    /// # Errors
    /// The limit that it would break; nothing is booked.
    pub fn admit(&mut self, demand: Demand, limits: &Limits, now: Moment) -> Result<(), Refusal> {
        match demand {
            Demand::Connection => count_up(
                &mut self.connections,
                limits.connections,
                "connections of this app",
                "connections",
            ),
            Demand::Channel => count_up(
                &mut self.channels,
                limits.channels,
                "live channels of this app",
                "channels",
            ),
            Demand::Publishes(amount) => {
                let rate = Rate::per_second(limits.publishes_per_second);
                self.publishes.take(amount, rate, now).map_err(|retry_after| Refusal::RateLimited {
                    what: "publishes of this app",
                    limit: limits.publishes_per_second,
                    setting: "publishes_per_second",
                    retry_after,
                })
            }
        }
    }

    /// Takes back a connection or a channel that is gone. Publishes come back by themselves.
    pub const fn release(&mut self, demand: Demand) {
        match demand {
            Demand::Connection => self.connections = self.connections.saturating_sub(1),
            Demand::Channel => self.channels = self.channels.saturating_sub(1),
            Demand::Publishes(_) => {}
        }
    }

    /// Connections open now.
    #[must_use]
    pub const fn connections(&self) -> u32 {
        self.connections
    }
}

fn count_up(
    count: &mut u32,
    limit: u32,
    what: &'static str,
    setting: &'static str,
) -> Result<(), Refusal> {
    if *count >= limit {
        let limit = limit as usize;
        return Err(Refusal::TooMany { what, limit, setting });
    }
    *count += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_connection_makes_room() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (mut quota, now) = (Quota::default(), Moment::default());
        assert!(quota.admit(Demand::Connection, &limits, now).is_ok());
        assert!(quota.admit(Demand::Connection, &limits, now).is_err());
        quota.release(Demand::Connection);
        assert!(quota.admit(Demand::Connection, &limits, now).is_ok());
    }

    #[test]
    fn a_publish_to_many_channels_counts_as_many() {
        let limits = Limits { publishes_per_second: 100, ..Limits::default() };
        let (mut quota, now) = (Quota::default(), Moment::from_micros(1));
        assert!(quota.admit(Demand::Publishes(90), &limits, now).is_ok());
        assert!(quota.admit(Demand::Publishes(20), &limits, now).is_err());
        assert!(quota.admit(Demand::Publishes(10), &limits, now).is_ok());
    }
}
