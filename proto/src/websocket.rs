//! Outgoing WebSocket frames (RFC 6455 §5.2), encoded once and shared by every socket they go to.

use bytes::{BufMut, Bytes, BytesMut};

/// Longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// An unfragmented text frame, header included.
#[must_use]
pub fn text_frame(payload: &str) -> Bytes {
    frame(0x1, payload.as_bytes())
}

/// An empty ping frame.
#[must_use]
pub fn ping_frame() -> Bytes {
    frame(0x9, b"")
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
}
