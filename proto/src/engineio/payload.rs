//! Payloads: the packets of one HTTP body, in text form and divided by a record separator.

use std::borrow::Cow;

use bytes::Bytes;

use crate::websocket::{Frame, binary_frame, frames, text_frame};

use super::packet::{Malformed, Packet};

/// Divides the packets of a payload.
pub const SEPARATOR: char = '\u{1e}';
/// Packets of one payload. A client may send a megabyte of two-byte packets, each of which costs
/// far more than two bytes here.
pub const PACKETS_MAX: usize = 4_096;
/// Packets of one payload of a client that has not said yet who it is.
pub const PACKETS_MAX_UNTRUSTED: usize = 16;
/// Packets of one payload for a client: python-engineio (4.15) takes no more, and breaks off.
pub const PACKETS_PER_ANSWER: usize = 16;

/// Reads the packets of a client's body, `limit` at most.
///
/// # Errors
/// [`Malformed`]: not UTF-8, too many, or one of them is no packet. Nothing of it counts then.
pub fn packets(body: &[u8], limit: usize) -> Result<Vec<Packet<'_>>, Malformed> {
    let text = str::from_utf8(body).map_err(|_| Malformed)?;
    let parts = || text.split(SEPARATOR);
    if parts().take(limit + 1).count() > limit {
        return Err(Malformed);
    }
    parts().map(Packet::parse).collect()
}

/// The payload that says what encoded WebSocket frames would have said.
#[must_use]
pub fn from_frames<'a>(encoded: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut out = String::new();
    for frame in encoded.into_iter().flat_map(frames) {
        if !out.is_empty() {
            out.push(SEPARATOR);
        }
        match frame {
            Frame::Text(text) => out.push_str(text),
            Frame::Binary(bytes) => Packet::Binary(Cow::Borrowed(bytes)).write(&mut out),
            Frame::Close(..) => Packet::Close.write(&mut out),
            // An answer to nobody: what was pinged is no longer there.
            Frame::Ping | Frame::Pong => Packet::Noop.write(&mut out),
        }
    }
    out
}

/// The WebSocket frames that say what a payload of [`from_frames`] says.
pub fn to_frames(payload: &str) -> impl Iterator<Item = Bytes> {
    payload.split(SEPARATOR).map(|packet| match Packet::parse(packet) {
        Ok(Packet::Binary(bytes)) => binary_frame(&bytes),
        _ => text_frame(packet),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::close_frame;
    use proptest::prelude::*;

    #[test]
    fn a_payload_is_divided_into_packets() {
        let read = packets(b"4hello\x1e2\x1ebAQIDBA==", 3).unwrap();
        let bytes = Packet::Binary(vec![1, 2, 3, 4].into());
        assert_eq!(read, [Packet::Text("hello"), Packet::Ping(""), bytes]);
    }

    #[test]
    fn a_payload_with_a_bad_packet_or_too_many_is_malformed() {
        for body in ["", "abc", "4a\x1e", "\x1e4a", "4a\x1eabc", "4\x1e4\x1e4\x1e4"] {
            assert_eq!(packets(body.as_bytes(), 3), Err(Malformed), "{body:?}");
        }
        assert_eq!(packets(b"4\xff", 3), Err(Malformed));
    }

    #[test]
    fn frames_become_a_payload() {
        let several = [text_frame("4a"), text_frame("4b")].concat();
        let binary = binary_frame(&[1, 2, 3, 4]);
        let close = close_frame(1000, "");
        let payload = from_frames([several.as_slice(), &binary, &close]);
        assert_eq!(payload, "4a\u{1e}4b\u{1e}bAQIDBA==\u{1e}1");
        let back: Vec<Bytes> = to_frames(&payload).collect();
        assert_eq!(back, [text_frame("4a"), text_frame("4b"), binary, text_frame("1")]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(body: Vec<u8>) {
            let _ = packets(&body, 8);
        }

        #[test]
        fn messages_survive_a_payload(texts in prop::collection::vec("[^\u{1e}]*", 1..8)) {
            let sent: Vec<_> = texts.iter().map(|text| text_frame(&format!("4{text}"))).collect();
            let payload = from_frames(sent.iter().map(|frame| &frame[..]));
            let read = packets(payload.as_bytes(), 8).unwrap();
            let expected: Vec<_> = texts.iter().map(|text| Packet::Text(text)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
