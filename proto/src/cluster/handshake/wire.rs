//! The bytes of the handshake. They are the same in every version up to the hello's version byte, so
//! that two nodes can always tell each other why they do not understand each other.

use super::{Introduction, MESSAGE_BYTES_MAX, Nonce, Purpose, Refusal, Rule, VERSION, node_id};
use crate::name::RelayId;

/// What a hello begins with, after its kind.
const MAGIC: &[u8] = b"handbell";

/// Which message it is: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello = 1,
    Welcome = 2,
    Proof = 3,
    Refusal = 4,
}

pub(super) fn encode_hello(me: &Introduction, purpose: &Purpose, nonce: &Nonce) -> Vec<u8> {
    let writer = Writer::new(Kind::Hello).bytes(MAGIC).bytes(&[VERSION]);
    let writer = encode_introduction(writer, me, nonce);
    match purpose {
        Purpose::Probe => writer.bytes(&[0]),
        Purpose::Link(target) => writer.bytes(&[1]).life(target),
    }
    .finish()
}

pub(super) fn decode_hello(message: &[u8]) -> Result<(Introduction, Purpose), Refusal> {
    let mut reader = Reader::new(message);
    if reader.kind()? != Kind::Hello || reader.take(MAGIC.len())? != MAGIC {
        return Err(Refusal::new(Rule::Malformed));
    }
    let [version] = reader.array()?;
    if version != VERSION {
        return Err(Refusal::handshake(version));
    }
    let (introduction, _nonce) = decode_introduction(&mut reader)?;
    let purpose = match reader.array()? {
        [0] => Purpose::Probe,
        [1] => Purpose::Link(reader.life()?),
        _ => return Err(Refusal::new(Rule::Malformed)),
    };
    reader.end()?;
    Ok((introduction, purpose))
}

pub(super) fn encode_introduction(writer: Writer, me: &Introduction, nonce: &Nonce) -> Writer {
    let writer = writer.bytes(&me.wire.to_be_bytes()).bytes(&me.slots.to_be_bytes());
    writer.life(&me.id).bytes(nonce)
}

pub(super) fn decode_introduction(reader: &mut Reader) -> Result<(Introduction, Nonce), Refusal> {
    let wire = u16::from_be_bytes(reader.array()?);
    let slots = u16::from_be_bytes(reader.array()?);
    let id = reader.life()?;
    Ok((Introduction { id, wire, slots }, reader.array()?))
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: Kind) -> Self {
        Self(vec![kind as u8])
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn life(self, id: &RelayId) -> Self {
        let node = id.node.as_str().as_bytes();
        let length = u8::try_from(node.len()).expect("a node's name has at most 64 bytes");
        self.bytes(&[length]).bytes(node).bytes(&id.incarnation.to_be_bytes())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        debug_assert!(self.0.len() <= MESSAGE_BYTES_MAX);
        self.0
    }
}

/// What is left of a message.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    pub(super) fn kind(&mut self) -> Result<Kind, Refusal> {
        match self.array()? {
            [1] => Ok(Kind::Hello),
            [2] => Ok(Kind::Welcome),
            [3] => Ok(Kind::Proof),
            [4] => Ok(Kind::Refusal),
            _ => Err(Refusal::new(Rule::Malformed)),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (array, rest) =
            self.0.split_first_chunk().ok_or_else(|| Refusal::new(Rule::Malformed))?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or_else(|| Refusal::new(Rule::Malformed))?;
        self.0 = rest;
        Ok(taken)
    }

    fn life(&mut self) -> Result<RelayId, Refusal> {
        let [length] = self.array()?;
        let text = str::from_utf8(self.take(usize::from(length))?)
            .map_err(|_| Refusal::new(Rule::Malformed))?;
        Ok(RelayId { node: node_id(text)?, incarnation: u64::from_be_bytes(self.array()?) })
    }

    pub(super) const fn remaining(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn end(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::new(Rule::Malformed)) }
    }
}
