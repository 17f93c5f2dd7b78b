//! Packets: one digit that says what it is, and text. Binary messages have no digit: in a WebSocket
//! they are binary frames, in text they are `b` and base64.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};

/// Clients differ in whether they pad.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A packet of Engine.IO 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The server's greeting: its handshake as JSON.
    Open(&'a str),
    /// The end of the session.
    Close,
    /// Asks for a pong: from the server, or `probe` from a client that changes its transport.
    Ping(&'a str),
    /// The answer, with the same text.
    Pong(&'a str),
    /// A message.
    Text(&'a str),
    /// A message of bytes.
    Binary(Cow<'a, [u8]>),
    /// The change of the transport is complete.
    Upgrade,
    /// Nothing, so that a waiting GET has an answer.
    Noop,
}

/// What came is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an Engine.IO packet")]
pub struct Malformed;

impl<'a> Packet<'a> {
    /// Reads a packet in its text form.
    ///
    /// # Errors
    /// [`Malformed`]: no known digit, text where there can be none, or bad base64.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let kind = text.chars().next().ok_or(Malformed)?;
        let rest = &text[kind.len_utf8()..];
        match (kind, rest) {
            ('0', _) => Ok(Self::Open(rest)),
            ('1', "") => Ok(Self::Close),
            ('2', _) => Ok(Self::Ping(rest)),
            ('3', _) => Ok(Self::Pong(rest)),
            ('4', _) => Ok(Self::Text(rest)),
            ('5', "") => Ok(Self::Upgrade),
            ('6', "") => Ok(Self::Noop),
            ('b', _) => {
                let bytes = LENIENT.decode(rest).map_err(|_| Malformed)?;
                Ok(Self::Binary(bytes.into()))
            }
            _ => Err(Malformed),
        }
    }

    /// Appends the text form.
    pub fn write(&self, out: &mut String) {
        let (kind, rest) = match self {
            Self::Open(text) => ('0', *text),
            Self::Close => ('1', ""),
            Self::Ping(text) => ('2', *text),
            Self::Pong(text) => ('3', *text),
            Self::Text(text) => ('4', *text),
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
            Self::Binary(bytes) => {
                out.push('b');
                return general_purpose::STANDARD.encode_string(bytes, out);
            }
        };
        out.push(kind);
        out.push_str(rest);
    }

    /// The text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_packets_of_the_protocol_read_and_write() {
        for (text, packet) in [
            (r#"0{"sid":"x"}"#, Packet::Open(r#"{"sid":"x"}"#)),
            ("1", Packet::Close),
            ("2", Packet::Ping("")),
            ("2probe", Packet::Ping("probe")),
            ("3", Packet::Pong("")),
            ("3probe", Packet::Pong("probe")),
            ("4", Packet::Text("")),
            ("4hello €", Packet::Text("hello €")),
            ("bAQIDBA==", Packet::Binary(vec![1, 2, 3, 4].into())),
            ("b", Packet::Binary(vec![].into())),
            ("5", Packet::Upgrade),
            ("6", Packet::Noop),
        ] {
            assert_eq!(Packet::parse(text), Ok(packet.clone()), "{text}");
            assert_eq!(packet.to_text(), text);
        }
        assert_eq!(Packet::parse("bAQIDBA"), Ok(Packet::Binary(vec![1, 2, 3, 4].into())));
    }

    #[test]
    fn what_is_no_packet_is_malformed() {
        for text in ["", "abc", "7", "-1", "1x", "5x", "6x", "b!", "bA", "é", "\u{1e}"] {
            assert_eq!(Packet::parse(text), Err(Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_what_reads_writes_the_same_again(text in "[0-7b]?\\PC*") {
            if let Ok(packet) = Packet::parse(&text) {
                let again = packet.to_text();
                prop_assert_eq!(Packet::parse(&again), Ok(packet));
            }
        }

        #[test]
        fn bytes_survive_text(bytes: Vec<u8>) {
            let packet = Packet::Binary(bytes.into());
            let text = packet.to_text();
            prop_assert_eq!(Packet::parse(&text), Ok(packet));
        }
    }
}
