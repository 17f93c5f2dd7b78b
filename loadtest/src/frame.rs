//! WebSocket frames as a client sees them (RFC 6455 §5.2): reading a server's without copying,
//! writing its own. Fragments and extensions are refused: no server under test needs them.

/// Longest payload that is believed.
const PAYLOAD_MAX: u64 = 1 << 20;

/// A whole text message.
pub const TEXT: u8 = 0x1;
/// The end of the conversation.
pub const CLOSE: u8 = 0x8;
/// A question that a pong answers.
pub const PING: u8 = 0x9;
/// The answer to a ping.
pub const PONG: u8 = 0xA;

/// A frame from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub opcode: u8,
    /// What it carries.
    pub payload: &'a [u8],
    /// Its size on the wire, header included.
    pub bytes: usize,
}

/// Why bytes are no frame of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is a fragment, or an extension's.
    #[error("the server sent a fragment or used an extension")]
    Unexpected,
    /// Servers do not mask.
    #[error("the server sent a masked frame")]
    Masked,
    /// Nothing that is measured here is so long.
    #[error("the server sent a frame of more than a MiB")]
    TooLong,
}

/// Reads the frame that `bytes` begin with. None if its end is not there yet.
///
/// # Errors
/// [`FrameError`].
pub fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0xF0 != 0x80 {
        return Err(FrameError::Unexpected);
    }
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (header, length) = match (second & 0x7F, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (2, u64::from(short)),
    };
    if length > PAYLOAD_MAX {
        return Err(FrameError::TooLong);
    }
    let end = header + usize::try_from(length).map_err(|_| FrameError::TooLong)?;
    Ok(bytes.get(header..end).map(|payload| Frame { opcode: first & 0x0F, payload, bytes: end }))
}

/// Reads a client's frame of at most 65,535 bytes: what it is, what it carries, and its size on the wire.
/// None if its end is not there yet, or if it is none.
#[must_use]
pub fn parse_masked(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    let (length, rest) = match second & 0x7F {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        short => (usize::from(short), rest),
    };
    let (mask, rest) = rest.split_first_chunk::<4>()?;
    let payload = rest.get(..length)?.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m);
    Some((first & 0x0F, payload.collect(), bytes.len() - rest.len() + length))
}

/// A client's frame of at most 65,535 bytes. The mask guards against proxies, of which there are
/// none here, so it is always the same.
///
/// # Panics
/// If the payload is longer.
#[must_use]
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5A, 0xA5, 0x3C, 0xC3];
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short @ ..=125) => frame.push(0x80 | short),
        _ => {
            let length = u16::try_from(payload.len()).expect("a client's frames are short");
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_whole_or_not_at_all() {
        for length in [0, 1, 125, 126, 140, 65_535, 65_536] {
            let text = "x".repeat(length);
            let encoded = proto::websocket::text_frame(&text);
            let frame = parse(&encoded).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.bytes), (TEXT, encoded.len()));
            assert_eq!(frame.payload, text.as_bytes());
            for end in [0, 1, 2, encoded.len() - 1] {
                assert_eq!(parse(&encoded[..end.min(encoded.len() - 1)]), Ok(None));
            }
        }
    }

    #[test]
    fn what_follows_a_frame_is_left_alone() {
        let two =
            [&proto::websocket::text_frame("one")[..], &proto::websocket::ping_frame()].concat();
        let first = parse(&two).unwrap().unwrap();
        let second = parse(&two[first.bytes..]).unwrap().unwrap();
        assert_eq!((first.payload, second.opcode), (&b"one"[..], PING));
    }

    #[test]
    fn fragments_masks_and_giants_are_refused() {
        assert_eq!(parse(&[0x01, 0]), Err(FrameError::Unexpected));
        assert_eq!(parse(&[0xC1, 0]), Err(FrameError::Unexpected));
        assert_eq!(parse(&masked(TEXT, b"hi")), Err(FrameError::Masked));
        let giant = [0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse(&giant), Err(FrameError::TooLong));
    }

    #[test]
    fn a_masked_frame_unmasks_to_its_payload() {
        for length in [0, 5, 125, 126, 1_000] {
            let payload = vec![b'x'; length];
            let frame = masked(TEXT, &payload);
            let two = [&frame[..], b"more"].concat();
            assert_eq!(parse_masked(&two), Some((TEXT, payload, frame.len())));
            assert_eq!(parse_masked(&frame[..frame.len() - 1]), None);
        }
    }
}
