//! What can be seen of this node's channels from outside, without asking them.

use proto::ChannelKey;
use proto::cluster::message::{Answer, ListQuery, Listed};
use proto::cluster::slot::{SLOTS, Slot};

use super::Channels;

impl Channels {
    /// The occupied channels of an app in the slots that this node serves.
    #[must_use]
    pub fn list(&self, query: &ListQuery) -> Answer {
        let (mut listed, mut served) = (Vec::new(), 0);
        for slot in Slot::all() {
            let slot = self.slot(slot);
            if !slot.is_serving() {
                continue;
            }
            served += 1;
            for (key, entry) in &slot.channels {
                let (subscribers, members) = entry.vitals.counts();
                let is_asked = key.app == query.app
                    && subscribers > 0
                    && !key.channel.kind().user
                    && key.channel.as_str().starts_with(&query.prefix);
                if is_asked {
                    let channel = key.channel.clone();
                    listed.push(Listed { channel, subscribers, members });
                }
            }
        }
        Answer::Listed(listed, served)
    }

    /// The live channels of this node with their subscribers and members, in no order.
    #[must_use]
    pub fn census(&self) -> Vec<(ChannelKey, usize, usize)> {
        let mut all = Vec::new();
        for slot in Slot::all() {
            let slot = self.slot(slot);
            all.extend(slot.channels.iter().map(|(key, entry)| {
                let (subscribers, members) = entry.vitals.counts();
                (key.clone(), subscribers, members)
            }));
        }
        all
    }

    /// Channels of which this node keeps a copy for another.
    #[must_use]
    pub fn copies(&self) -> usize {
        let copies = |slot| self.slot(slot).replica.as_ref().map_or(0, |copy| copy.len());
        Slot::all().map(copies).sum()
    }

    /// Slots served here.
    #[must_use]
    pub fn slots_served(&self) -> u16 {
        let served = Slot::all().filter(|&slot| self.slot(slot).is_serving()).count();
        u16::try_from(served).unwrap_or(SLOTS)
    }
}
