//! Who subscribes to what, and where everything is: the parts of a run that do not change.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use super::observation::{Channel, Node};

/// Connections that each channel has at least.
const AUDIENCE: usize = 3;
/// Marks tell so many streams apart.
pub(super) const STREAMS_MAX: u32 = 10_000;
/// Ports of every node, each on an address of its own.
const CLIENT_PORT: u16 = 6001;
const CLUSTER_PORT: u16 = 6002;
const ADMIN_PORT: u16 = 9601;

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Nodes at the beginning.
    pub nodes: usize,
    /// Channels that are published to.
    pub channels: u32,
    /// Clients that stay.
    pub tabs: usize,
    /// Clients that come and go.
    pub churners: usize,
    /// Back ends.
    pub publishers: u32,
}

/// The channels, by number: hot, presence, plain, and those of the clients that come and go.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How much of everything.
    pub size: Size,
    /// Every channel's name.
    pub names: Vec<String>,
    /// Channels that get half of everything.
    pub hot: Range<Channel>,
    /// Presence channels.
    pub presence: Range<Channel>,
    /// All channels that are published to.
    pub published: Range<Channel>,
    numbers: HashMap<String, Channel>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tab {
    /// Its number.
    pub number: usize,
    /// The node that it prefers.
    pub home: Node,
    /// Who it is in presence channels: two tabs of different nodes are one user.
    pub user: String,
    /// What it subscribes to.
    pub channels: Vec<Channel>,
    /// Whether it leaves and comes back all the time.
    pub is_churner: bool,
}

impl Plan {
    /// Names and shares out the channels.
    #[must_use]
    pub(super) fn new(size: Size) -> Self {
        let hot = 0..4.min(size.channels);
        let presences = u32::try_from(size.tabs / 40).unwrap_or(0).max(4);
        let presence = hot.end..(hot.end + presences).min(size.channels);
        let published = 0..size.channels;
        let churners = u32::try_from(size.churners).unwrap_or(0);
        let name = |channel| match channel {
            channel if hot.contains(&channel) => format!("hot-{channel}"),
            channel if presence.contains(&channel) => format!("presence-{channel}"),
            channel if published.contains(&channel) => format!("plain-{channel}"),
            channel => format!("churn-{channel}"),
        };
        let names: Vec<String> = (0..size.channels + churners).map(name).collect();
        let numbers = names.iter().cloned().zip(0..).collect();
        Self { size, names, hot, presence, published, numbers }
    }

    /// A channel's number.
    #[must_use]
    pub(super) fn number(&self, name: &str) -> Option<Channel> {
        self.numbers.get(name).copied()
    }

    /// A channel's name.
    #[must_use]
    pub(super) fn name(&self, channel: Channel) -> &str {
        &self.names[channel as usize]
    }

    /// All clients.
    #[must_use]
    pub(super) fn tabs(&self) -> Vec<Tab> {
        let Size { nodes, tabs, churners, .. } = self.size;
        let all = (0..tabs + churners).map(|number| {
            let is_churner = number >= tabs;
            let (user, channels) = match number.checked_sub(tabs) {
                None => (format!("user-{}", number / 2), self.channels(number)),
                Some(churner) => (format!("churner-{churner}"), self.churned(churner)),
            };
            Tab { number, home: number % nodes, user, channels, is_churner }
        });
        all.collect()
    }

    fn channels(&self, tab: usize) -> Vec<Channel> {
        let tabs = self.size.tabs;
        let pick = |range: &Range<Channel>, number: usize| {
            let count = range.len().max(1);
            let offset = u32::try_from(number % count).unwrap_or(0);
            Some(range.start + offset).filter(|channel| range.contains(channel))
        };
        let mut channels: Vec<Channel> =
            [pick(&self.hot, tab), pick(&self.presence, tab / 2)].into_iter().flatten().collect();
        let has = |&channel: &Channel| {
            (0..AUDIENCE).any(|place| (channel as usize + place * (tabs / AUDIENCE)) % tabs == tab)
        };
        channels.extend((self.presence.end..self.published.end).filter(has));
        channels
    }

    fn churned(&self, churner: usize) -> Vec<Channel> {
        let own = self.published.end + u32::try_from(churner).unwrap_or(0);
        self.presence
            .clone()
            .nth(churner % self.presence.len().max(1))
            .into_iter()
            .chain([own])
            .collect()
    }
}

/// A node's address: one of the loopback network for each.
#[must_use]
pub(super) fn address(node: Node) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(11 + node).unwrap_or(u8::MAX))
}

/// Where a node's clients connect to.
#[must_use]
pub(super) fn clients(node: Node) -> SocketAddr {
    (address(node), CLIENT_PORT).into()
}

/// Where its peers connect to.
#[must_use]
pub(super) fn peers(node: Node) -> SocketAddr {
    (address(node), CLUSTER_PORT).into()
}

/// Where it tells about itself.
#[must_use]
pub(super) fn admin(node: Node) -> SocketAddr {
    (address(node), ADMIN_PORT).into()
}

/// A node's name.
#[must_use]
pub(super) fn id(node: Node) -> String {
    format!("node-{}", node + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SIZE: Size = Size { nodes: 3, channels: 50, tabs: 24, churners: 6, publishers: 8 };

    #[test]
    fn every_channel_has_listeners_at_more_than_one_node() {
        let plan = Plan::new(SIZE);
        let mut homes: BTreeMap<Channel, Vec<Node>> = BTreeMap::new();
        for tab in plan.tabs().iter().filter(|tab| !tab.is_churner) {
            for &channel in &tab.channels {
                homes.entry(channel).or_default().push(tab.home);
            }
        }
        for channel in plan.published.clone() {
            let homes = homes.get(&channel).unwrap();
            assert!(homes.len() >= AUDIENCE, "{channel}: {homes:?}");
        }
        assert!(homes[&0].iter().any(|&home| home != homes[&0][0]));
    }

    #[test]
    fn a_user_has_two_tabs_at_different_nodes_in_the_same_channel() {
        let tabs = Plan::new(SIZE).tabs();
        for pair in tabs[..24].chunks(2) {
            assert_eq!(pair[0].user, pair[1].user);
            assert_eq!(pair[0].channels[1], pair[1].channels[1]);
            assert_ne!(pair[0].home, pair[1].home);
        }
    }

    #[test]
    fn names_and_numbers_belong_together() {
        let plan = Plan::new(SIZE);
        for (number, name) in (0..).zip(&plan.names) {
            assert_eq!((plan.number(name), plan.name(number)), (Some(number), name.as_str()));
        }
        assert!(plan.presence.clone().all(|channel| plan.name(channel).starts_with("presence-")));
        assert_eq!(plan.names.len(), 56);
    }
}
