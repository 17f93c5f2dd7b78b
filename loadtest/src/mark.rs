//! The mark that an event's data begin with: which stream it belongs to and its number there, from
//! which a receiver can tell a lost, repeated or overtaken event.
//!
//! A stream is what must arrive in order: the events that one publisher sends to one channel.

/// Bytes of a mark: `~`, four digits of the stream, `.`, nine of the number, `~`.
pub const MARK_BYTES: usize = 16;
const STREAM_DIGITS: usize = 4;

/// An event's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Its stream, below 10,000.
    pub stream: u32,
    /// Its number in the stream, from 0.
    pub number: u32,
}

impl Mark {
    /// An event's data: the mark, filled up to `bytes`. Never shorter than a mark.
    #[must_use]
    pub fn data(self, bytes: usize) -> String {
        let Self { stream, number } = self;
        let mut data = format!("~{stream:04}.{number:09}~");
        debug_assert_eq!(data.len(), MARK_BYTES);
        data.extend(std::iter::repeat_n('x', bytes.saturating_sub(MARK_BYTES)));
        data
    }

    /// Finds a message's mark. `hint` is where the last one was, and is corrected: the place is the
    /// same in all messages of a run, but servers differ in the order of an envelope's fields.
    #[must_use]
    pub fn find(message: &[u8], hint: &mut usize) -> Option<Self> {
        if let Some(mark) = message.get(*hint..).and_then(Self::parse) {
            return Some(mark);
        }
        let starts = (0..message.len()).filter(|&start| message[start] == b'~');
        let (start, mark) =
            starts.filter_map(|start| Some((start, Self::parse(&message[start..])?))).next()?;
        *hint = start;
        Some(mark)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let inner = bytes.get(..MARK_BYTES)?.strip_prefix(b"~")?;
        let inner = inner.strip_suffix(b"~")?;
        let (stream, number) = inner.split_at(STREAM_DIGITS);
        Some(Self { stream: digits(stream)?, number: digits(number.strip_prefix(b".")?)? })
    }
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
        Some(value * 10 + digit?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_wherever_it_is_and_faster_the_second_time() {
        let mark = Mark { stream: 7, number: 123_456_789 };
        let data = mark.data(100);
        assert_eq!(data.len(), 100);
        let message = format!(r#"{{"channel":"~c","data":"{data}"}}"#);
        let mut hint = 0;
        assert_eq!(Mark::find(message.as_bytes(), &mut hint), Some(mark));
        assert_eq!(hint, message.find("~0007").unwrap());
        assert_eq!(Mark::find(message.as_bytes(), &mut hint), Some(mark));
    }

    #[test]
    fn other_messages_have_no_mark() {
        for text in ["", "~", r#"{"event":"pusher:ping"}"#, "~0001.00000000x~"] {
            let mut hint = 3;
            assert_eq!(Mark::find(text.as_bytes(), &mut hint), None);
            assert_eq!(hint, 3);
        }
    }
}
