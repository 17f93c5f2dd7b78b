//! Slots: the 4,096 parts into which all channels are divided. A slot has one owner; a channel
//! belongs to a slot for ever, whatever nodes there are.

use serde::{Deserialize, Serialize};

use crate::name::{AppId, ChannelKey};

/// How many slots there are. The same on every node of a cluster, for ever.
pub const SLOTS: u16 = 4_096;

/// One of the [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "u16")]
pub struct Slot(u16);

impl TryFrom<u16> for Slot {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        let is_slot = number < SLOTS;
        is_slot.then_some(Self(number)).ok_or_else(|| format!("there is no slot {number}"))
    }
}

impl Slot {
    /// The slot of a channel.
    #[must_use]
    pub fn of(key: &ChannelKey) -> Self {
        Self::of_name(&key.app, key.channel.as_str())
    }

    /// The slot of anything else that an app has one of: its quota, an idempotency key.
    #[must_use]
    pub fn of_name(app: &AppId, name: &str) -> Self {
        let mut hash = StableHash::default();
        hash.write(app.as_str().as_bytes());
        // No app id contains this byte, so no two pairs are the same text.
        hash.write(&[0]);
        hash.write(name.as_bytes());
        #[allow(clippy::cast_possible_truncation)]
        Self((hash.finish() % u64::from(SLOTS)) as u16)
    }

    /// All slots, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }

    /// Its number, below [`SLOTS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// FNV-1a with a final mix: the same number on every machine, version and run, for ever.
#[derive(Clone, Copy, Debug)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The hash of all bytes added so far.
    #[must_use]
    pub const fn finish(self) -> u64 {
        // The final mix of MurmurHash3: FNV alone spreads similar names badly over the high bits.
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ChannelName;

    #[test]
    fn slots_never_change() {
        let slot = |app: &str, channel: &str| {
            let app = AppId::parse(app).unwrap();
            let channel = ChannelName::parse(channel).unwrap();
            Slot::of(&ChannelKey { app, channel }).index()
        };
        // Golden: a change here would move every channel of every running cluster.
        let golden = [slot("app-id", "room"), slot("app-id", "presence-room"), slot("1", "room")];
        assert_eq!(golden, [1809, 3156, 1218]);
    }
}
