//! Frames: what is sent, what was received, and how messages stand in them.

use bytes::Bytes;

use super::WIRE;

/// Bytes before a message: its kind and its length.
const HEAD: usize = 5;

/// A frame that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends too early or a length in it is wrong.
    #[error("a frame from a peer is cut off or garbled")]
    Garbled,
    /// Its version is not understood.
    #[error("a frame from a peer has wire version {0}, this node understands {WIRE}")]
    Version(u64),
}

/// How a peer is doing, by what comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It answers.
    Up,
    /// It has not for [`SUSPECT_AFTER`](super::SUSPECT_AFTER).
    Suspect,
    /// It has not for [`STALLED_AFTER`](super::STALLED_AFTER).
    Stalled,
}

/// A frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it carries messages; signs of life and acknowledgements may overtake those.
    pub is_batch: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Kinds and bodies, which are parts of the frame.
pub type Messages = Vec<(u8, Bytes)>;

/// What a received frame was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The peer began anew: what was on its way from it is lost. To be dealt with first.
    pub is_restarted: bool,
    /// The peer lost what we sent: [`Link::reset`](super::Link::reset) is due.
    pub is_forgotten: bool,
    /// The next messages, if it carried any; [`Link::done`](super::Link::done) is called when they have been dealt with.
    pub messages: Messages,
}

/// Bytes before the messages.
const HEADER: usize = 64;
/// Room for what a transport adds, so that it need not copy.
const SPARE: usize = 16;

/// What stands before the messages of a frame, after the version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Which beginning of the sender's stream it belongs to.
    pub(super) generation: u64,
    /// The number of the batch; 0 if there is none.
    pub(super) number: u64,
    /// The number of the first batch that the receiver may lack.
    pub(super) oldest: u64,
    /// Which beginning of the receiver's stream the sender knows.
    pub(super) known: u64,
    /// The last batch of it that the sender has dealt with.
    pub(super) done: u64,
    /// The sender's time.
    pub(super) mine: u64,
    /// The last time of the receiver's that the sender has seen.
    pub(super) theirs: u64,
}

impl Header {
    pub(super) fn encode(self, messages: &[u8]) -> Vec<u8> {
        let Self { generation, number, oldest, known, done, mine, theirs } = self;
        let mut bytes = Vec::with_capacity(HEADER + messages.len() + SPARE);
        for part in [u64::from(WIRE), generation, number, oldest, known, done, mine, theirs] {
            bytes.extend_from_slice(&part.to_be_bytes());
        }
        bytes.extend_from_slice(messages);
        bytes
    }

    pub(super) fn decode(mut frame: Bytes) -> Result<(Self, Bytes), FrameError> {
        if frame.len() < HEADER {
            return Err(FrameError::Garbled);
        }
        let header = frame.split_to(HEADER);
        let part = |index: usize| {
            let bytes = header.get(index * 8..index * 8 + 8).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u64::from_be_bytes)
        };
        if part(0) != u64::from(WIRE) {
            return Err(FrameError::Version(part(0)));
        }
        let (generation, number, oldest) = (part(1), part(2), part(3));
        let (known, done, mine, theirs) = (part(4), part(5), part(6), part(7));
        Ok((Self { generation, number, oldest, known, done, mine, theirs }, frame))
    }
}

/// The messages of a batch.
pub(super) fn split(mut bytes: Bytes) -> Result<Messages, FrameError> {
    let mut messages = Vec::new();
    while let Some(&[kind, length @ ..]) = bytes.first_chunk::<HEAD>() {
        let end = HEAD + u32::from_be_bytes(length) as usize;
        if end > bytes.len() {
            return Err(FrameError::Garbled);
        }
        messages.push((kind, bytes.split_to(end).slice(HEAD..)));
    }
    if bytes.is_empty() { Ok(messages) } else { Err(FrameError::Garbled) }
}
