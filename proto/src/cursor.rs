//! How far someone has come in several channels at once, as one text: what an EventSource sends as
//! `Last-Event-ID` and a polling client as `lastMessageId`. Any node understands it.
//!
//! `room~5-19a-1~job:7~2-19a-1`: it can stand in a header, in a line of an event stream and, as long as
//! names are plain, in a URL as it is. So it has no spaces, and what else is not plain in a name (the
//! ids of users are anything) is percent-encoded.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::name::ChannelName;
use crate::position::Position;

/// Channels of one cursor at most.
pub const CHANNELS_MAX: usize = 100;

/// Between the names and the places.
const SEPARATOR: char = '~';

/// All that is not in the names of channels other than those of one user.
const NOT_PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'-')
    .remove(b'=')
    .remove(b'@')
    .remove(b',')
    .remove(b'.')
    .remove(b';')
    .remove(b':');

/// The last publication that someone has had of each channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<ChannelName, Position>);

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a place to go on from: it has to be the id of an event, unchanged")]
pub struct NotACursor;

impl Cursor {
    /// Reads a cursor.
    ///
    /// # Errors
    /// [`NotACursor`], also if it speaks of more than [`CHANNELS_MAX`] channels.
    pub fn parse(text: &str) -> Result<Self, NotACursor> {
        Self::parse_up_to(text, CHANNELS_MAX)
    }

    /// As [`Cursor::parse`], of so many channels at most.
    ///
    /// # Errors
    /// [`NotACursor`].
    pub fn parse_up_to(text: &str, channels_max: usize) -> Result<Self, NotACursor> {
        let mut places = BTreeMap::new();
        let mut words = text.split(SEPARATOR);
        while let Some(name) = words.next() {
            let name = percent_decode_str(name).decode_utf8().map_err(|_| NotACursor)?;
            let channel = ChannelName::parse(&name).map_err(|_| NotACursor)?;
            let position = words.next().and_then(|place| place.parse().ok()).ok_or(NotACursor)?;
            places.insert(channel, position);
            if places.len() > channels_max {
                return Err(NotACursor);
            }
        }
        Ok(Self(places))
    }

    /// Of how many channels it speaks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it speaks of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How far it has come in a channel.
    #[must_use]
    pub fn get(&self, channel: &ChannelName) -> Option<Position> {
        self.0.get(channel).copied()
    }

    /// It has come so far in a channel, if it does not speak of it yet.
    pub fn begin(&mut self, channel: &ChannelName, position: Position) {
        self.0.entry(channel.clone()).or_insert(position);
    }

    /// It speaks of such channels only.
    pub fn retain(&mut self, is_such: impl Fn(&ChannelName) -> bool) {
        self.0.retain(|channel, _| is_such(channel));
    }

    /// It has come as far as another one, where that speaks of a channel.
    pub fn advance(&mut self, other: &Self) {
        for (channel, position) in &other.0 {
            self.set(channel, *position);
        }
    }

    /// It does not speak of a channel any more. Returns how far it had come there.
    pub fn remove(&mut self, channel: &ChannelName) -> Option<Position> {
        self.0.remove(channel)
    }

    /// The text, of however many channels it speaks.
    #[must_use]
    pub fn whole(&self) -> String {
        Whole(&self.0).to_string()
    }

    /// The channels that it speaks of.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.0.keys()
    }

    /// It has come so far in a channel.
    pub fn set(&mut self, channel: &ChannelName, position: Position) {
        match self.0.get_mut(channel) {
            Some(place) => *place = position,
            None => drop(self.0.insert(channel.clone(), position)),
        }
    }
}

/// Of more than [`CHANNELS_MAX`] channels it says nothing, which is no cursor: it stands with every
/// event, and would soon be larger than what it goes with.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            0..=CHANNELS_MAX => Whole(&self.0).fmt(f),
            _ => Ok(()),
        }
    }
}

struct Whole<'a>(&'a BTreeMap<ChannelName, Position>);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (channel, position)) in self.0.iter().enumerate() {
            if number > 0 {
                write!(f, "{SEPARATOR}")?;
            }
            let name = utf8_percent_encode(channel.as_str(), NOT_PLAIN);
            write!(f, "{name}{SEPARATOR}{position}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::UserId;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let mut cursor = Cursor::default();
        let job = ChannelName::parse("job:1").unwrap();
        cursor.set(&ChannelName::parse("a").unwrap(), "3-1-2".parse().unwrap());
        cursor.set(&job, "4-1-2".parse().unwrap());
        cursor.set(&job, "5-1-2".parse().unwrap());
        let text = cursor.to_string();
        assert_eq!(text, "a~3-1-2~job:1~5-1-2");
        assert_eq!(Cursor::parse(&text), Ok(cursor.clone()));
        assert_eq!(cursor.get(&job), "5-1-2".parse().ok());
    }

    #[test]
    fn of_too_many_channels_it_says_nothing() {
        let mut cursor = Cursor::default();
        for number in 0..CHANNELS_MAX {
            let channel = ChannelName::parse(&format!("c{number}")).unwrap();
            cursor.set(&channel, "1-1-1".parse().unwrap());
        }
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor.clone()));
        cursor.set(&ChannelName::parse("one-more").unwrap(), "1-1-1".parse().unwrap());
        assert_eq!(cursor.to_string(), "");
        assert_eq!(Cursor::parse(""), Err(NotACursor));
        assert_eq!(Cursor::parse(&cursor.whole()), Err(NotACursor));
        assert_eq!(Cursor::parse_up_to(&cursor.whole(), 101), Ok(cursor));
    }

    #[test]
    fn whatever_a_user_is_called_the_text_is_plain() {
        for user in ["a b", "a\nid: 7\n\n", "a~1-1-1", "50%", "%20", "ü&x=#?+/\0"] {
            let mut cursor = Cursor::default();
            let channel = ChannelName::of_user(&UserId::parse(user).unwrap());
            cursor.set(&channel, "1-1-1".parse().unwrap());
            cursor.set(&ChannelName::parse("room").unwrap(), "2-1-1".parse().unwrap());
            let text = cursor.to_string();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "%_-=@,.;:~".contains(c);
            assert!(text.chars().all(is_plain), "{text}");
            assert_eq!(Cursor::parse(&text), Ok(cursor), "{text}");
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let many = ["a~1-1-1"; 3].join("~");
        assert!(Cursor::parse(&many).is_ok(), "the same channel again");
        let too_many: Vec<String> = (0..=CHANNELS_MAX).map(|n| format!("c{n}~1-1-1")).collect();
        for bad in [
            "",
            "~",
            "a",
            "a~b",
            "a~1-1-1~b",
            "a~~1-1-1",
            "a~1-1-1~",
            "a 1-1-1",
            "a%20b~1-1-1",
            "#server-to-user-%ff~1-1-1",
            &too_many.join("~"),
        ] {
            assert_eq!(Cursor::parse(bad), Err(NotACursor), "{bad}");
        }
    }
}
