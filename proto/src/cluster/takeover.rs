//! What a new owner gathers of a slot before it serves it, and what it begins with.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Part, Published, Resync};
use crate::idempotency::{Idempotency, ItemKey};
use crate::name::{ChannelKey, RelayId};
use crate::time::{Moment, Shift};

/// What a member holds of a slot, in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Estate {
    /// Whether nobody has served the slot since. Otherwise it is a copy of what another served.
    pub is_primary: bool,
    /// Channels.
    pub channels: Vec<(ChannelKey, Channel)>,
    /// Idempotency keys.
    pub idempotency: Idempotency,
}

impl Estate {
    /// The same in the time of the node that takes it in, which the sender called `then`.
    pub fn rebase(&mut self, then: Moment, now: Moment) {
        let shift = Shift::between(then, now);
        for (_, channel) in &mut self.channels {
            channel.rebase(shift);
        }
        let theirs = std::mem::take(&mut self.idempotency);
        self.idempotency.absorb(theirs, shift);
    }
}

/// A channel to begin with.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The channel as its last owner or a copy had it; none if only relays know of it.
    pub channel: Option<Channel>,
    /// The last owner, if it handed the channel over itself.
    pub from: Option<RelayId>,
    /// What others held of it. Of those that came another way, and published there, something is lost.
    pub others: Vec<Channel>,
    /// What relays have of it.
    pub resyncs: Vec<Resync>,
}

/// What was gathered so far.
#[derive(Debug, Default)]
pub struct Takeover {
    channels: BTreeMap<ChannelKey, Inherited>,
    /// Each member's: two can have given one publish different places.
    idempotency: Vec<Idempotency>,
    /// Parts of relays that have said all they have of the slot.
    listed: BTreeSet<(RelayId, Part)>,
}

impl Takeover {
    /// Takes in what a member holds, in this node's time.
    pub fn add(&mut self, from: &RelayId, estate: Estate) {
        if !estate.idempotency.is_empty() {
            self.idempotency.push(estate.idempotency);
        }
        for (key, channel) in estate.channels {
            let known = self.channels.entry(key).or_default();
            let rank = |is_primary: bool, channel: &Channel| (channel.position(), is_primary);
            let is_better = known.channel.as_ref().is_none_or(|other| {
                rank(estate.is_primary, &channel) > rank(known.from.is_some(), other)
            });
            if is_better {
                known.others.extend(known.channel.replace(channel));
                known.from = estate.is_primary.then(|| from.clone());
            } else {
                known.others.push(channel);
            }
        }
    }

    /// Takes in what a relay has of a channel.
    pub fn add_resync(&mut self, key: ChannelKey, resync: Resync) {
        let resyncs = &mut self.channels.entry(key).or_default().resyncs;
        // A relay that says it again says it better.
        resyncs.retain(|known| known.relay != resync.relay || known.part != resync.part);
        resyncs.push(resync);
    }

    /// A part of a relay has said all it has: it has nobody in the other channels.
    pub fn listed(&mut self, relay: RelayId, part: Part) {
        self.listed.insert((relay, part));
    }

    /// Everything, by channel.
    #[must_use]
    pub fn into_parts(self) -> (BTreeMap<ChannelKey, Inherited>, Idempotency) {
        let Self { mut channels, idempotency: answers, listed } = self;
        for inherited in channels.values_mut().filter(|inherited| inherited.channel.is_some()) {
            for (relay, part) in &listed {
                let is_same = |known: &Resync| known.relay == *relay && known.part == *part;
                if !inherited.resyncs.iter().any(is_same) {
                    inherited.resyncs.push(Resync::nothing(relay.clone(), *part));
                }
            }
        }
        for inherited in channels.values_mut() {
            let channel = inherited.channel.as_ref();
            inherited.others.retain(|other| channel.is_some_and(|c| c.lacks(&other.way())));
        }
        // What another node had published while it was cut off is not on the way of the channel that goes
        // on: whoever repeats it is not to be told that it was done.
        let holds = |item: &ItemKey, published: &Published| {
            let channel = channels.get(&item.channel).and_then(|i| i.channel.as_ref());
            let known = channel.zip(published.position);
            known.is_none_or(|(channel, position)| channel.has_come_by(position))
        };
        let mut idempotency = Idempotency::default();
        for mut theirs in answers {
            theirs.retain_answers(holds);
            idempotency.absorb(theirs, Shift::default());
        }
        (channels, idempotency)
    }
}

/// Which channels parts of relays have spoken of, while they are still speaking.
#[derive(Debug, Default)]
pub struct Listing(BTreeMap<(RelayId, Part), BTreeSet<ChannelKey>>);

impl Listing {
    /// A part of a relay speaks of a channel.
    pub fn heard(&mut self, relay: &RelayId, part: Part, key: &ChannelKey) {
        let place = (relay.clone(), part);
        match self.0.entry(place) {
            Entry::Occupied(mut known) => drop(known.get_mut().insert(key.clone())),
            Entry::Vacant(place) => drop(place.insert(BTreeSet::from([key.clone()]))),
        }
    }

    /// A part of a relay has spoken: the channels that it spoke of.
    pub fn ended(&mut self, relay: &RelayId, part: Part) -> BTreeSet<ChannelKey> {
        self.0.remove(&(relay.clone(), part)).unwrap_or_default()
    }

    /// A relay begins anew, or is gone.
    pub fn forget(&mut self, relay: &RelayId) {
        self.0.retain(|(known, _), _| known != relay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{History, Settings};
    use crate::idempotency::RetryKey;
    use crate::name::{AppId, ChannelName, NodeId};
    use crate::position::{Epoch, Offset, Position};

    fn key() -> ChannelKey {
        let (app, channel) = (AppId::parse("app").unwrap(), ChannelName::parse("room").unwrap());
        ChannelKey { app, channel }
    }

    fn item() -> ItemKey {
        ItemKey { channel: key(), retry: RetryKey { key: "once".to_owned(), item: 0 } }
    }

    /// What a node has that went on with a channel then, and gave the publish a place there.
    fn estate(birth: u64) -> (Estate, Position) {
        let epoch = Epoch { birth, incarnation: 1 };
        let settings = Settings {
            history: History::default(),
            presence_members: 100,
            cache_for: std::time::Duration::ZERO,
            subscription_count: false,
            webhooks: false,
        };
        let mut channel = Channel::new(key().channel, epoch, settings);
        channel.take_over(epoch);
        let place = Position { epoch, offset: Offset(0) };
        let published = Published { position: Some(place), ..Published::default() };
        let mut idempotency = Idempotency::default();
        idempotency.remember(item(), published, Moment::default());
        let channels = vec![(key(), channel)];
        (Estate { is_primary: true, channels, idempotency }, place)
    }

    /// A publisher was refused by both sides of a cut, each of which had given its event a place.
    #[test]
    fn a_publish_has_the_place_that_it_has_on_the_way_that_goes_on() {
        let node = |name| RelayId { node: NodeId::parse(name).unwrap(), incarnation: 1 };
        for names in [["a", "b"], ["b", "a"]] {
            let (loser, _) = estate(1);
            let (winner, place) = estate(2);
            let mut estates = [("a", loser), ("b", winner)];
            estates.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
            let mut takeover = Takeover::default();
            for (name, estate) in estates {
                takeover.add(&node(name), estate);
            }
            let (_, mut idempotency) = takeover.into_parts();
            let answer = idempotency.answer(&item(), Moment::default());
            assert_eq!(answer.and_then(|published| published.position), Some(place), "{names:?}");
        }
    }
}
