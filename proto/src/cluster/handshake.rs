//! How two nodes prove to each other that they know the cluster's secret, before anything else is
//! read from the connection.
//!
//! ```text
//! dialer                                    acceptor
//!   hello: who I am, whom I want, nonce  ─►   refuses another protocol, another node
//!     checks who answers                 ◄─  welcome: who I am, nonce
//!   proof of the dialer                  ─►   refuses a wrong proof, an older life
//!     checks the proof                   ◄─  proof of the acceptor
//! ```
//!
//! A proof is HMAC-SHA256 over the whole hello and welcome and, under TLS, over a value that only
//! the two ends of this TLS connection share. Each role has a key of its own, derived from the secret.
//!
//! * **No oracle.** The acceptor says nothing that depends on the secret until the dialer has proved
//!   itself, so whoever can merely reach the port learns nothing to guess at. The dialer has to go
//!   first, but its proof holds for one pair of nonces, one target and one dialer: whoever it was
//!   tricked into dialling can use it nowhere else. A proof never holds in the other role.
//! * **No replay.** Both sides draw a nonce, so a recorded handshake fits no other.
//! * Without TLS nobody is kept from relaying the handshake of two honest nodes and then reading or
//!   changing what follows. With TLS that is excluded by the value that is mixed in.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::app::Secret;
use crate::name::{NodeId, RelayId};

mod refusal;
mod wire;

pub use refusal::{Refusal, Rule};
use wire::{Kind, Reader, Writer};

/// The version of this handshake.
pub const VERSION: u8 = 1;
/// The largest message. Who sends more is not one of us.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// 256 bits that were drawn at random for one handshake.
pub type Nonce = [u8; 32];

/// What one side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Which life of which node it is.
    pub id: RelayId,
    /// The version of the cluster's protocol, major and minor in one byte each. Nodes of different
    /// majors do not talk.
    pub wire: u16,
    /// How many slots it divides the channels into.
    pub slots: u16,
}

/// Why a dialer calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To open a session with this life of a node.
    Link(RelayId),
    /// To hear whether whoever is there would have us.
    Probe,
}

/// What is derived from the cluster's secret, a key for each use.
#[derive(Clone)]
pub struct Keys {
    dialer: [u8; 32],
    acceptor: [u8; 32],
    session: [u8; 32],
    cookie: [u8; 32],
    gossip: [u8; 32],
}

impl Keys {
    /// Derives the keys.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let derive = |label: &str| tag(secret.expose().as_bytes(), &[label.as_bytes()]);
        Self {
            dialer: derive("handbell cluster 1: dialer's proof"),
            acceptor: derive("handbell cluster 1: acceptor's proof"),
            session: derive("handbell cluster 1: session number"),
            cookie: derive("handbell cluster 1: ractor cookie"),
            gossip: derive("handbell cluster 1: gossip"),
        }
    }

    /// The password of `ractor_cluster`'s own handshake, which follows this one.
    #[must_use]
    pub fn cookie(&self) -> String {
        hex::encode(self.cookie)
    }

    /// The key from which each node derives one for its datagrams with a salt.
    #[must_use]
    pub fn gossip(&self, salt: &[u8]) -> [u8; 32] {
        tag(&self.gossip, &[salt])
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What both sides know at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Who is at the other end.
    pub peer: RelayId,
    /// The same number at both ends, different for every handshake.
    pub session: u64,
}

/// The dialer after its hello.
#[derive(Debug)]
pub struct Dialing<'a> {
    keys: &'a Keys,
    me: Introduction,
    purpose: Purpose,
    transcript: Transcript,
}

/// Begins a handshake: the dialer's state and its hello. `binding` is what only the two ends of
/// this TLS connection share, or empty.
#[must_use]
pub fn dial<'a>(
    keys: &'a Keys,
    me: Introduction,
    purpose: Purpose,
    nonce: Nonce,
    binding: &[u8],
) -> (Dialing<'a>, Vec<u8>) {
    let hello = wire::encode_hello(&me, &purpose, &nonce);
    let mut transcript = Transcript::new(binding);
    transcript.add(&hello);
    (Dialing { keys, me, purpose, transcript }, hello)
}

impl<'a> Dialing<'a> {
    /// Reads the welcome and makes the dialer's proof.
    ///
    /// # Errors
    /// The other side's refusal, or ours: another protocol, or another node than the one wanted.
    pub fn receive(mut self, message: &[u8]) -> Result<(Proving<'a>, Vec<u8>), Refusal> {
        let mut reader = Reader::new(message);
        match reader.kind()? {
            Kind::Welcome => {}
            Kind::Refusal => return Err(Refusal::decode(&mut reader)?),
            Kind::Hello | Kind::Proof => return Err(Refusal::new(Rule::Malformed)),
        }
        let (peer, _nonce) = wire::decode_introduction(&mut reader)?;
        reader.end()?;
        self.me.check(&peer)?;
        if let Purpose::Link(wanted) = &self.purpose
            && *wanted != peer.id
        {
            return Err(Refusal::another_life(&peer.id));
        }
        self.transcript.add(message);
        let proof = self.transcript.tag(&self.keys.dialer);
        let proof = Writer::new(Kind::Proof).bytes(&proof).finish();
        Ok((Proving { keys: self.keys, peer: peer.id, transcript: self.transcript }, proof))
    }
}

/// The dialer after its proof.
#[derive(Debug)]
pub struct Proving<'a> {
    keys: &'a Keys,
    peer: RelayId,
    transcript: Transcript,
}

impl Proving<'_> {
    /// Who answered. Under TLS the caller compares it with the certificate.
    #[must_use]
    pub const fn peer(&self) -> &RelayId {
        &self.peer
    }

    /// Reads the acceptor's proof.
    ///
    /// # Errors
    /// The other side's refusal, or ours if it does not know the secret.
    pub fn receive(self, message: &[u8]) -> Result<Agreed, Refusal> {
        let mut reader = Reader::new(message);
        match reader.kind()? {
            Kind::Proof => {}
            Kind::Refusal => return Err(Refusal::decode(&mut reader)?),
            Kind::Hello | Kind::Welcome => return Err(Refusal::new(Rule::Malformed)),
        }
        self.transcript.verify(&self.keys.acceptor, reader.remaining())?;
        Ok(Agreed { session: self.transcript.session(self.keys), peer: self.peer })
    }
}

/// The acceptor after its welcome.
#[derive(Debug)]
pub struct Greeted<'a> {
    keys: &'a Keys,
    peer: RelayId,
    is_probe: bool,
    transcript: Transcript,
}

/// Reads a hello: the acceptor's state and its welcome. `binding` is as for [`dial`].
///
/// # Errors
/// Why the dialer is not welcome, to be sent as it is.
pub fn accept<'a>(
    keys: &'a Keys,
    me: &Introduction,
    hello: &[u8],
    nonce: &Nonce,
    binding: &[u8],
) -> Result<(Greeted<'a>, Vec<u8>), Refusal> {
    let (peer, purpose) = wire::decode_hello(hello)?;
    if peer.id == me.id {
        return Err(Refusal::new(Rule::Myself));
    }
    me.check(&peer)?;
    if peer.id.node == me.id.node {
        return Err(Refusal::same_node(&me.id.node));
    }
    let is_probe = match purpose {
        Purpose::Probe => true,
        Purpose::Link(wanted) if wanted == me.id => false,
        Purpose::Link(_) => return Err(Refusal::another_life(&me.id)),
    };
    let welcome = wire::encode_introduction(Writer::new(Kind::Welcome), me, nonce).finish();
    let mut transcript = Transcript::new(binding);
    transcript.add(hello);
    transcript.add(&welcome);
    Ok((Greeted { keys, peer: peer.id, is_probe, transcript }, welcome))
}

impl<'a> Greeted<'a> {
    /// Who it says it is. Under TLS the caller compares it with the certificate.
    #[must_use]
    pub const fn peer(&self) -> &RelayId {
        &self.peer
    }

    /// Reads the dialer's proof.
    ///
    /// # Errors
    /// That the secret differs.
    pub fn receive(self, message: &[u8]) -> Result<Proved<'a>, Refusal> {
        let mut reader = Reader::new(message);
        if reader.kind()? != Kind::Proof {
            return Err(Refusal::new(Rule::Malformed));
        }
        self.transcript.verify(&self.keys.dialer, reader.remaining())?;
        Ok(Proved(self))
    }
}

/// The acceptor that knows whom it talks to, and can still refuse.
#[derive(Debug)]
pub struct Proved<'a>(Greeted<'a>);

impl Proved<'_> {
    /// Who it is.
    #[must_use]
    pub const fn peer(&self) -> &RelayId {
        &self.0.peer
    }

    /// Whether it only wanted to hear this.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.0.is_probe
    }

    /// The acceptor's proof, which ends the handshake.
    #[must_use]
    pub fn finish(self) -> (Agreed, Vec<u8>) {
        let Greeted { keys, peer, transcript, .. } = self.0;
        let proof = Writer::new(Kind::Proof).bytes(&transcript.tag(&keys.acceptor)).finish();
        (Agreed { peer, session: transcript.session(keys) }, proof)
    }
}

impl Introduction {
    /// Checks that the other side speaks as we do.
    fn check(&self, peer: &Self) -> Result<(), Refusal> {
        if self.wire >> 8 != peer.wire >> 8 {
            return Err(Refusal::wire(self, peer));
        }
        if self.slots != peer.slots {
            return Err(Refusal::slots(self, peer));
        }
        Ok(())
    }
}

/// Everything that was said, each part with its length, so that no two transcripts are the same bytes.
#[derive(Debug)]
struct Transcript(Vec<u8>);

impl Transcript {
    fn new(binding: &[u8]) -> Self {
        let mut transcript = Self(Vec::with_capacity(512));
        transcript.add(binding);
        transcript
    }

    fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.0.extend_from_slice(part);
    }

    fn tag(&self, key: &[u8; 32]) -> [u8; 32] {
        tag(key, &[&self.0])
    }

    fn verify(&self, key: &[u8; 32], proof: &[u8]) -> Result<(), Refusal> {
        // The comparison takes the same time wherever the proofs differ.
        mac(key, &[&self.0]).verify_slice(proof).map_err(|_| Refusal::new(Rule::Secret))
    }

    fn session(&self, keys: &Keys) -> u64 {
        let tag = self.tag(&keys.session);
        tag.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    mac(key, parts).finalize().into_bytes().into()
}

/// Reads a node's name out of a message.
fn node_id(text: &str) -> Result<NodeId, Refusal> {
    NodeId::parse(text).map_err(|_| Refusal::new(Rule::Malformed))
}

#[cfg(test)]
mod tests;
