//! Outgoing WebSocket frames (RFC 6455 §5.2), encoded once and shared by every socket they go to.

use bytes::{BufMut, Bytes, BytesMut};

/// Longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// An unfragmented text frame, header included.
#[must_use]
pub fn text_frame(payload: &str) -> Bytes {
    frame(0x1, payload.as_bytes())
}

/// An unfragmented binary frame, header included.
#[must_use]
pub fn binary_frame(payload: &[u8]) -> Bytes {
    frame(0x2, payload)
}

/// An unfragmented text frame of several parts, which are UTF-8 together.
#[must_use]
pub fn text_frame_of(parts: &[&[u8]]) -> Bytes {
    frame(0x1, &parts.concat())
}

/// An empty ping frame.
#[must_use]
pub fn ping_frame() -> Bytes {
    frame(0x9, b"")
}

/// A ping frame with a number, which comes back in the answer.
#[must_use]
pub fn numbered_ping_frame(number: u32) -> Bytes {
    frame(0x9, &number.to_be_bytes())
}

/// The number of the ping that a pong answers; none if that had no number.
#[must_use]
pub fn number_of_pong(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

/// A close frame. A reason longer than a control frame can carry is cut at a character.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(0x8, &payload)
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    const FINAL: u8 = 0x80;
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(FINAL | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..=125), _) => out.put_u8(short),
        (_, Ok(medium)) => {
            out.put_u8(126);
            out.put_u16(medium);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload.len() as u64);
        }
    }
    out.put_slice(payload);
    out.freeze()
}

/// A frame of this module, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A text frame's payload.
    Text(&'a str),
    /// A binary frame's payload.
    Binary(&'a [u8]),
    /// A close frame: its code and reason.
    Close(u16, &'a str),
    /// A ping frame.
    Ping,
    /// A pong frame.
    Pong,
}

/// The frames in bytes that this side has encoded: whole, unmasked and unfragmented. It ends early
/// at anything else.
pub fn frames(encoded: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (frame, after) = first_frame(rest)?;
        rest = after;
        Some(frame)
    })
}

fn first_frame(encoded: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (&[first, short], rest) = encoded.split_first_chunk()?;
    let (length, rest) = match short {
        127 => {
            let (long, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*long)).ok()?, rest)
        }
        126 => {
            let (medium, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*medium)), rest)
        }
        short => (usize::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    let frame = match first {
        0x81 => Frame::Text(str::from_utf8(payload).ok()?),
        0x82 => Frame::Binary(payload),
        0x88 => {
            let (code, reason) = payload.split_first_chunk()?;
            Frame::Close(u16::from_be_bytes(*code), str::from_utf8(reason).ok()?)
        }
        0x89 => Frame::Ping,
        0x8a => Frame::Pong,
        _ => return None,
    };
    Some((frame, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_the_shortest_form() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(text_frame(&"x".repeat(length)).len(), length + header);
        }
        assert_eq!(&text_frame("hi")[..], b"\x81\x02hi");
        assert_eq!(&ping_frame()[..], b"\x89\x00");
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let frame = close_frame(4200, &"é".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert_eq!(&frame[..4], &[0x88, 124, 0x10, 0x68]);
    }

    #[test]
    fn frames_read_back_in_their_order() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            let encoded = [
                text_frame(&text),
                binary_frame(text.as_bytes()),
                ping_frame(),
                close_frame(1000, "bye"),
            ];
            let read = encoded.concat();
            let read: Vec<_> = frames(&read).collect();
            let expected = [
                Frame::Text(&text),
                Frame::Binary(text.as_bytes()),
                Frame::Ping,
                Frame::Close(1000, "bye"),
            ];
            assert_eq!(read, expected);
        }
        assert_eq!(frames(&text_frame("cut")[..4]).count(), 0);
    }
}
