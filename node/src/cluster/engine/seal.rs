//! Sealing of datagrams: nobody outside the cluster can read, make, change or repeat one.
//!
//! ```text
//! version 1 | salt 16 | counter 8 | sealed: unix ms 8, text | tag 16
//! ```
//!
//! Every start of a node draws a salt, and the salt and the cluster's secret make its key; so a
//! counter is enough to never use a nonce twice. The receiver remembers, for each salt, which
//! counters it has seen; the time inside keeps datagrams from before its own start out.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use proto::cluster::handshake::Keys;

const VERSION: u8 = 1;
const SALT: usize = 16;
const HEADER: usize = 1 + SALT + 8;
/// How much the clocks of two nodes may differ.
const CLOCK_SKEW_MS: u64 = 60_000;
/// Senders that are remembered: lives of nodes of the last [`CLOCK_SKEW_MS`], so plenty.
const SENDERS_MAX: usize = 1024;
/// How far behind the newest a datagram may arrive: one bit each.
const WINDOW: u64 = 128;

/// Why a datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsealed {
    /// It is not from this cluster.
    Garbage,
    /// The sender's clock differs by so many milliseconds.
    Clock(u64),
    /// It was received before, or is too far behind the others.
    Repeated,
}

/// Seals what this node sends and opens what it receives.
pub(super) struct Seal {
    keys: Keys,
    salt: [u8; SALT],
    key: LessSafeKey,
    counter: u64,
    senders: BTreeMap<[u8; SALT], Sender>,
}

/// One life of a node as a sender.
struct Sender {
    key: LessSafeKey,
    newest: u64,
    /// Bit `n`: the datagram that is `n` behind the newest was received.
    seen: u128,
    heard_ms: u64,
}

impl Seal {
    pub(super) fn new(keys: Keys, salt: [u8; SALT]) -> Self {
        let key = key(&keys, &salt);
        Self { keys, salt, key, counter: 0, senders: BTreeMap::new() }
    }

    pub(super) fn seal(&mut self, text: &[u8], now_ms: u64) -> Vec<u8> {
        self.counter += 1;
        let mut datagram = Vec::with_capacity(HEADER + 8 + text.len() + AES_256_GCM.tag_len());
        datagram.push(VERSION);
        datagram.extend_from_slice(&self.salt);
        datagram.extend_from_slice(&self.counter.to_be_bytes());
        let mut sealed = [&now_ms.to_be_bytes(), text].concat();
        self.key
            .seal_in_place_append_tag(nonce(self.counter), Aad::from(&datagram), &mut sealed)
            .expect("a datagram is not too long for the cipher");
        datagram.extend_from_slice(&sealed);
        datagram
    }

    /// Opens a datagram in place and gives its text.
    pub(super) fn open<'d>(
        &mut self,
        datagram: &'d mut [u8],
        now_ms: u64,
    ) -> Result<&'d [u8], Unsealed> {
        let (header, sealed) = datagram.split_at_mut_checked(HEADER).ok_or(Unsealed::Garbage)?;
        let (salt, counter) = parse(header).ok_or(Unsealed::Garbage)?;
        let known = self.senders.get(&salt);
        if known.is_some_and(|sender| sender.has_seen(counter)) {
            return Err(Unsealed::Repeated);
        }
        let derived = known.is_none().then(|| key(&self.keys, &salt));
        let key = derived.as_ref().or(known.map(|sender| &sender.key)).ok_or(Unsealed::Garbage)?;
        let text = key
            .open_in_place(nonce(counter), Aad::from(&*header), sealed)
            .map_err(|_| Unsealed::Garbage)?;
        let (sent_ms, text) = text.split_first_chunk().ok_or(Unsealed::Garbage)?;
        let difference = u64::from_be_bytes(*sent_ms).abs_diff(now_ms);
        if difference > CLOCK_SKEW_MS {
            return Err(Unsealed::Clock(difference));
        }
        if let Some(key) = derived {
            self.make_room();
            self.senders.insert(salt, Sender { key, newest: 0, seen: 0, heard_ms: now_ms });
        }
        if let Some(sender) = self.senders.get_mut(&salt) {
            sender.mark(counter, now_ms);
        }
        Ok(text)
    }

    /// Forgets the sender that was heard of least lately. Only who knows the secret gets here.
    fn make_room(&mut self) {
        if self.senders.len() < SENDERS_MAX {
            return;
        }
        let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.heard_ms);
        if let Some(salt) = oldest.map(|(salt, _)| *salt) {
            self.senders.remove(&salt);
        }
    }
}

impl Sender {
    fn has_seen(&self, counter: u64) -> bool {
        match self.newest.checked_sub(counter) {
            None => false,
            Some(behind) => behind >= WINDOW || self.seen >> behind & 1 == 1,
        }
    }

    fn mark(&mut self, counter: u64, now_ms: u64) {
        self.heard_ms = now_ms;
        if counter > self.newest {
            let ahead = u32::try_from(counter - self.newest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0);
            self.newest = counter;
        }
        self.seen |= 1 << (self.newest - counter);
    }
}

fn parse(header: &[u8]) -> Option<([u8; SALT], u64)> {
    let (&[version], rest) = header.split_first_chunk()?;
    let (salt, counter) = rest.split_first_chunk()?;
    (version == VERSION).then_some((*salt, u64::from_be_bytes(counter.try_into().ok()?)))
}

fn key(keys: &Keys, salt: &[u8; SALT]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, &keys.gossip(salt)).expect("the key has 256 bits");
    LessSafeKey::new(key)
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proto::app::Secret;

    fn seal(secret: &str, salt: u8) -> Seal {
        Seal::new(Keys::new(&Secret::new(secret)), [salt; SALT])
    }

    fn open(seal: &mut Seal, datagram: &[u8], now_ms: u64) -> Result<Vec<u8>, Unsealed> {
        seal.open(&mut datagram.to_vec(), now_ms).map(<[u8]>::to_vec)
    }

    #[test]
    fn what_is_sealed_is_opened_once() {
        let (mut a, mut b) = (seal("one", 1), seal("one", 2));
        let datagrams: Vec<_> = (0..300).map(|n: u16| a.seal(&n.to_be_bytes(), 5)).collect();
        // Out of order within the window.
        for pair in [1, 0, 3, 2, 40, 10].iter().map(|&n| &datagrams[n]) {
            assert!(open(&mut b, pair, 5).is_ok());
            assert_eq!(open(&mut b, pair, 5), Err(Unsealed::Repeated));
        }
        assert_eq!(open(&mut b, &datagrams[299], 5), Ok(vec![1, 43]));
        assert_eq!(open(&mut b, &datagrams[100], 5), Err(Unsealed::Repeated), "too far behind");
        assert_eq!(open(&mut b, &datagrams[200], 5), Ok(vec![0, 200]));
        assert_eq!(open(&mut b, &datagrams[200], 5), Err(Unsealed::Repeated));
    }

    #[test]
    fn garbage_other_secrets_and_changed_datagrams_are_not_taken() {
        let (mut a, mut b) = (seal("one", 1), seal("two", 2));
        let datagram = a.seal(b"text", 5);
        assert_eq!(open(&mut b, &datagram, 5), Err(Unsealed::Garbage));
        for length in 0..datagram.len() {
            assert_eq!(open(&mut a, &datagram[..length], 5), Err(Unsealed::Garbage));
        }
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 1;
            assert_eq!(open(&mut a, &changed, 5), Err(Unsealed::Garbage), "byte {at}");
        }
        assert!(a.senders.is_empty(), "strangers are not remembered");
    }

    #[test]
    fn a_datagram_from_another_time_is_not_taken() {
        let (mut a, mut b) = (seal("one", 1), seal("one", 2));
        let datagram = a.seal(b"text", 100_000);
        assert_eq!(open(&mut b, &datagram, 160_001), Err(Unsealed::Clock(60_001)));
        assert_eq!(open(&mut b, &datagram, 39_999), Err(Unsealed::Clock(60_001)));
        assert_eq!(open(&mut b, &datagram, 160_000), Ok(b"text".to_vec()));
    }

    #[test]
    fn the_memory_of_senders_is_bounded() {
        let mut b = seal("one", 0);
        for n in 0..2000_u16 {
            let mut salt = [9; SALT];
            salt[..2].copy_from_slice(&n.to_be_bytes());
            let mut a = Seal::new(Keys::new(&Secret::new("one")), salt);
            assert!(open(&mut b, &a.seal(b"", u64::from(n)), u64::from(n)).is_ok());
        }
        assert_eq!(b.senders.len(), SENDERS_MAX);
    }
}
