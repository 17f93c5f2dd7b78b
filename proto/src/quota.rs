//! What an app has in use and how fast it publishes, over all nodes.
//!
//! The slot of the app's name has the **ledger**: what each node uses, as that node says itself, and
//! the rate of publishing. A node works from an **allowance** that the ledger has granted it, in
//! small parts, so that admitting needs no question most of the time and the limits still hold for
//! the cluster within five in a hundred.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::Limits;
use crate::name::RelayId;
use crate::rate::{Bucket, Rate};
use crate::refusal::Refusal;
use crate::time::Moment;

/// A limit is granted in parts of one in so many.
const PARTS: u32 = 64;
/// How long a node's word about itself counts without a renewal.
const USAGE_HOLDS_FOR: Duration = Duration::from_secs(10);
/// How often a node says what it uses when it needs nothing.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Something that counts against an app's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One more open connection, until it is released.
    Connection,
    /// One more live channel, until it is released.
    Channel,
    /// So many publishes, now.
    Publishes(u32),
}

/// What a node says it uses, and what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Usage {
    /// The node; none only as a placeholder.
    pub relay: Option<RelayId>,
    /// Connections open on it.
    pub connections: u32,
    /// Channels alive on it.
    pub channels: u32,
    /// Connections that it needs beyond those.
    pub more_connections: u32,
    /// Channels that it needs beyond those.
    pub more_channels: u32,
    /// Publishes that it needs.
    pub publishes: u32,
}

/// What a node may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Grant {
    /// Connections on this node.
    pub connections: u32,
    /// Channels on this node.
    pub channels: u32,
    /// Publishes, from now on.
    pub publishes: u32,
    /// Microseconds until one more publish could be granted.
    pub retry_micros: u64,
    /// Connections open on all nodes.
    pub all_connections: u32,
}

/// The ledger of one app.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    nodes: BTreeMap<RelayId, Held>,
    publishes: Bucket,
}

#[derive(Clone, Debug)]
struct Held {
    connections: u32,
    channels: u32,
    used_connections: u32,
    said: Moment,
}

impl Ledger {
    /// Takes a node's word and grants what the limits allow.
    pub fn lease(&mut self, usage: Usage, limits: &Limits, now: Moment) -> Grant {
        let Some(relay) = usage.relay else {
            return Grant::default();
        };
        self.nodes.retain(|id, held| *id != relay && now.since(held.said) < USAGE_HOLDS_FOR);
        let others = |count: fn(&Held) -> u32| self.nodes.values().map(count).sum::<u32>();
        let connections = grant(
            limits.connections,
            others(|held| held.connections),
            (usage.connections, usage.more_connections),
        );
        let channels = grant(
            limits.channels,
            others(|held| held.channels),
            (usage.channels, usage.more_channels),
        );
        let used_connections = usage.connections;
        let all_connections = others(|held| held.used_connections) + used_connections;
        let (publishes, retry) = self.grant_publishes(usage.publishes, limits, now);
        self.nodes.insert(relay, Held { connections, channels, used_connections, said: now });
        let retry_micros = u64::try_from(retry.as_micros()).unwrap_or(u64::MAX);
        Grant { connections, channels, publishes, retry_micros, all_connections }
    }

    fn grant_publishes(&mut self, wanted: u32, limits: &Limits, now: Moment) -> (u32, Duration) {
        if wanted == 0 {
            return (0, Duration::ZERO);
        }
        let rate = Rate::per_second(limits.publishes_per_second);
        let part = wanted.max(limits.publishes_per_second / PARTS);
        if self.publishes.take(part, rate, now).is_ok() {
            return (part, Duration::ZERO);
        }
        match self.publishes.take(wanted, rate, now) {
            Ok(()) => (wanted, Duration::ZERO),
            Err(retry) => (0, retry),
        }
    }

    /// Connections open on all nodes.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.nodes.values().map(|held| held.used_connections).sum()
    }
}

/// What one node may use of a limit of which others hold a part.
fn grant(limit: u32, others: u32, (used, more): (u32, u32)) -> u32 {
    let free = limit.saturating_sub(others).saturating_sub(used);
    let part = (limit / PARTS).min(free / 4);
    used + free.min(more.max(part))
}

/// What one node may use and uses of an app's quota.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    granted: Grant,
    connections: u32,
    channels: u32,
    retry: Duration,
}

impl Allowance {
    /// Grants a demand from what the ledger has allowed this node; false if that is used up.
    pub const fn take(&mut self, demand: Demand) -> bool {
        match demand {
            Demand::Connection if self.connections < self.granted.connections => {
                self.connections += 1;
                true
            }
            Demand::Channel if self.channels < self.granted.channels => {
                self.channels += 1;
                true
            }
            Demand::Publishes(amount) if amount <= self.granted.publishes => {
                self.granted.publishes -= amount;
                true
            }
            _ => false,
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

    /// A channel that came from another node with its state: it is there, allowed or not.
    pub const fn inherit_channel(&mut self) {
        self.channels += 1;
    }

    /// What to say to the ledger, so that it grants this demand.
    #[must_use]
    pub fn usage(&self, relay: RelayId, demand: Option<Demand>) -> Usage {
        let Self { connections, channels, .. } = *self;
        let mut usage = Usage { relay: Some(relay), connections, channels, ..Usage::default() };
        match demand {
            Some(Demand::Connection) => usage.more_connections = 1,
            Some(Demand::Channel) => usage.more_channels = 1,
            Some(Demand::Publishes(amount)) => {
                usage.publishes = amount.saturating_sub(self.granted.publishes);
            }
            None => {}
        }
        usage
    }

    /// Takes over what the ledger grants.
    pub const fn granted(&mut self, grant: &Grant) {
        self.granted.connections = grant.connections;
        self.granted.channels = grant.channels;
        self.granted.publishes = self.granted.publishes.saturating_add(grant.publishes);
        self.granted.all_connections = grant.all_connections;
        self.retry = Duration::from_micros(grant.retry_micros);
    }

    /// Connections open on all nodes, as the ledger said last.
    #[must_use]
    pub const fn all_connections(&self) -> u32 {
        self.granted.all_connections
    }

    /// The refusal of a demand that the ledger has not granted.
    #[must_use]
    pub const fn refusal(&self, demand: Demand, limits: &Limits) -> Refusal {
        match demand {
            Demand::Connection => Refusal::TooMany {
                what: "connections of this app",
                limit: limits.connections as usize,
                setting: "connections",
            },
            Demand::Channel => Refusal::channels_full(limits.channels as usize),
            Demand::Publishes(_) => Refusal::RateLimited {
                what: "publishes of this app",
                limit: limits.publishes_per_second,
                setting: "publishes_per_second",
                retry_after: self.retry,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NodeId;

    fn relay(name: &str) -> RelayId {
        RelayId { node: NodeId::parse(name).unwrap(), incarnation: 1 }
    }

    /// Asks as a node does: from the allowance, and from the ledger when that is used up.
    fn admit(
        (ledger, limits): (&mut Ledger, &Limits),
        allowance: &mut Allowance,
        (name, demand): (&str, Demand),
        now: Moment,
    ) -> bool {
        if allowance.take(demand) {
            return true;
        }
        let grant = ledger.lease(allowance.usage(relay(name), Some(demand)), limits, now);
        allowance.granted(&grant);
        allowance.take(demand)
    }

    #[test]
    fn a_released_connection_makes_room_for_another_node() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (mut ledger, now) = (Ledger::default(), Moment::from_micros(1));
        let (mut a, mut b) = (Allowance::default(), Allowance::default());
        assert!(admit((&mut ledger, &limits), &mut a, ("a", Demand::Connection), now));
        assert!(!admit((&mut ledger, &limits), &mut b, ("b", Demand::Connection), now));
        a.release(Demand::Connection);
        let grant = ledger.lease(a.usage(relay("a"), None), &limits, now);
        a.granted(&grant);
        assert!(admit((&mut ledger, &limits), &mut b, ("b", Demand::Connection), now));
        assert!(!admit((&mut ledger, &limits), &mut a, ("a", Demand::Connection), now));
    }

    #[test]
    fn nodes_together_never_hold_more_than_the_limit_and_reach_it() {
        for limit in [1, 2, 10, 100, 1_000] {
            let limits = Limits { connections: limit, ..Limits::default() };
            let (mut ledger, now) = (Ledger::default(), Moment::from_micros(1));
            let mut nodes = ["a", "b", "c"].map(|name| (name, Allowance::default()));
            let mut admitted = 0;
            for turn in 0..3 * limit {
                let (name, allowance) = &mut nodes[turn as usize % 3];
                let demand = (*name, Demand::Connection);
                admitted += u32::from(admit((&mut ledger, &limits), allowance, demand, now));
            }
            assert!(admitted <= limit);
            assert!(admitted * 100 >= limit * 95, "{admitted} of {limit}");
        }
    }

    #[test]
    fn a_publish_to_many_channels_counts_as_many() {
        let limits = Limits { publishes_per_second: 100, ..Limits::default() };
        let (mut ledger, now) = (Ledger::default(), Moment::from_micros(1));
        let mut node = Allowance::default();
        assert!(admit((&mut ledger, &limits), &mut node, ("a", Demand::Publishes(90)), now));
        assert!(!admit((&mut ledger, &limits), &mut node, ("a", Demand::Publishes(20)), now));
        assert!(admit((&mut ledger, &limits), &mut node, ("a", Demand::Publishes(10)), now));
    }

    #[test]
    fn a_node_that_is_silent_loses_what_it_held() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (mut ledger, now) = (Ledger::default(), Moment::from_micros(1));
        let (mut a, mut b) = (Allowance::default(), Allowance::default());
        assert!(admit((&mut ledger, &limits), &mut a, ("a", Demand::Connection), now));
        let later = now + USAGE_HOLDS_FOR;
        assert!(admit((&mut ledger, &limits), &mut b, ("b", Demand::Connection), later));
    }
}
