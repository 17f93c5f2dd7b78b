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
