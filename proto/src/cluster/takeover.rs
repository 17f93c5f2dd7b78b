//! What a new owner gathers of a slot before it serves it, and what it begins with.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Resync};
use crate::idempotency::Idempotency;
use crate::name::ChannelKey;
use crate::time::{Moment, Shift};

/// What a member holds of a slot, in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Estate {
    /// Whether the sender served the slot until now. Otherwise it is a copy of what another served.
    pub is_primary: bool,
    /// Channels.
    pub channels: Vec<(ChannelKey, Channel)>,
    /// Idempotency keys.
    pub idempotency: Idempotency,
}

/// A channel to begin with.
#[derive(Debug)]
pub struct Inherited {
    /// The channel as its last owner or a copy had it; none if only relays know of it.
    pub channel: Option<Channel>,
    /// Whether the last owner itself handed it over: then its epoch goes on.
    pub is_handed_over: bool,
    /// What relays have of it.
    pub resyncs: Vec<Resync>,
}

/// What was gathered so far.
#[derive(Debug, Default)]
pub struct Takeover {
    channels: BTreeMap<ChannelKey, Inherited>,
    idempotency: Idempotency,
}

impl Takeover {
    /// Takes in what a member holds, which said so at `then` in its time.
    pub fn add(&mut self, estate: Estate, then: Moment, now: Moment) {
        let Estate { is_primary, channels, idempotency } = estate;
        let shift = Shift::between(then, now);
        self.idempotency.absorb(idempotency, shift);
        for (key, mut channel) in channels {
            channel.rebase(shift);
            let known = self.channel(key);
            let is_better = match &known.channel {
                None => true,
                Some(other) if known.is_handed_over == is_primary => {
                    channel.position() > other.position()
                }
                Some(_) => is_primary,
            };
            if is_better {
                known.channel = Some(channel);
                known.is_handed_over = is_primary;
            }
        }
    }

    /// Takes in what a relay has of a channel.
    pub fn add_resync(&mut self, key: ChannelKey, resync: Resync) {
        let resyncs = &mut self.channel(key).resyncs;
        // A relay that says it again says it better.
        resyncs.retain(|known| known.relay != resync.relay || known.part != resync.part);
        resyncs.push(resync);
    }

    /// Everything, by channel.
    #[must_use]
    pub fn into_parts(self) -> (BTreeMap<ChannelKey, Inherited>, Idempotency) {
        (self.channels, self.idempotency)
    }

    fn channel(&mut self, key: ChannelKey) -> &mut Inherited {
        match self.channels.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Inherited {
                channel: None,
                is_handed_over: false,
                resyncs: Vec::new(),
            }),
        }
    }
}
