//! What can be seen of this node's channels from outside, without asking them.

use std::sync::atomic::Ordering;

use proto::ChannelKey;
use proto::cluster::message::{Answer, ListQuery, Listed};
use proto::cluster::slot::{SLOTS, Slot};

use super::{Channels, Custody, Moves};

impl Channels {
    /// The occupied channels of an app in the slots that this node serves.
    #[must_use]
    pub fn list(&self, query: &ListQuery) -> Answer {
        let (mut listed, mut served) = (Vec::new(), 0);
        for slot in Slot::all() {
            let slot = self.slot(slot);
            if !slot.custody.is_serving() {
                continue;
            }
            served += 1;
            for (key, mailbox) in slot.custody.running() {
                let (subscribers, members) = mailbox.vitals.counts();
                let is_asked = key.app == query.app
                    && (subscribers > 0 || members > 0)
                    && !key.channel.kind().reserved
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
            all.extend(slot.custody.running().map(|(key, mailbox)| {
                let (subscribers, members) = mailbox.vitals.counts();
                (key.clone(), subscribers, members)
            }));
        }
        all
    }

    /// Channels of which this node keeps a copy for another.
    #[must_use]
    pub fn copies(&self) -> usize {
        Slot::all().map(|slot| self.slot(slot).custody.copies()).sum()
    }

    /// Slots served here.
    #[must_use]
    pub fn slots_served(&self) -> u16 {
        self.count(Custody::is_serving)
    }

    /// Slots that are not served here any more and that this node keeps until two others hold them.
    #[must_use]
    pub fn slots_kept(&self) -> u16 {
        self.count(Custody::is_keeping)
    }

    /// Slots taken over and given away since the start.
    #[must_use]
    pub fn moves(&self) -> (u64, u64) {
        let Moves { taken, ceded } = &self.0.moves;
        (taken.load(Ordering::Relaxed), ceded.load(Ordering::Relaxed))
    }

    /// Records that successors have not confirmed, over all slots.
    #[must_use]
    pub fn replication_lag(&self) -> u64 {
        Slot::all().map(|slot| self.slot(slot).custody.lag()).sum()
    }

    fn count(&self, is_such: impl Fn(&Custody) -> bool) -> u16 {
        let such = Slot::all().filter(|&slot| is_such(&self.slot(slot).custody)).count();
        u16::try_from(such).unwrap_or(SLOTS)
    }
}
