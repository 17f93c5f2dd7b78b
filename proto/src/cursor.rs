//! How far someone has come in several channels at once, as one text: what an EventSource sends as
//! `Last-Event-ID` and a polling client as `lastMessageId`. Any node understands it.

use std::collections::BTreeMap;
use std::fmt;

use crate::name::ChannelName;
use crate::position::Position;

/// Channels of one cursor at most.
pub const CHANNELS_MAX: usize = 100;

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
        let mut places = BTreeMap::new();
        let mut words = text.split(' ');
        while let Some(channel) = words.next() {
            let channel = ChannelName::parse(channel).map_err(|_| NotACursor)?;
            let position = words.next().and_then(|place| place.parse().ok()).ok_or(NotACursor)?;
            places.insert(channel, position);
            if places.len() > CHANNELS_MAX {
                return Err(NotACursor);
            }
        }
        Ok(Self(places))
    }

    /// How far it has come in a channel.
    #[must_use]
    pub fn get(&self, channel: &ChannelName) -> Option<Position> {
        self.0.get(channel).copied()
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

/// Channel names have no spaces.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (channel, position)) in self.0.iter().enumerate() {
            let space = if number == 0 { "" } else { " " };
            write!(f, "{space}{channel} {position}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let mut cursor = Cursor::default();
        let job = ChannelName::parse("job:1").unwrap();
        cursor.set(&ChannelName::parse("a").unwrap(), "3-1-2".parse().unwrap());
        cursor.set(&job, "4-1-2".parse().unwrap());
        cursor.set(&job, "5-1-2".parse().unwrap());
        let text = cursor.to_string();
        assert_eq!(text, "a 3-1-2 job:1 5-1-2");
        assert_eq!(Cursor::parse(&text), Ok(cursor.clone()));
        assert_eq!(cursor.get(&job), "5-1-2".parse().ok());
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let many = ["a 1-1-1"; 3].join(" ");
        assert!(Cursor::parse(&many).is_ok(), "the same channel again");
        let too_many: Vec<String> = (0..=CHANNELS_MAX).map(|n| format!("c{n} 1-1-1")).collect();
        for bad in ["", " ", "a", "a b", "a 1-1-1 b", "a  1-1-1", "a 1-1-1 ", &too_many.join(" ")] {
            assert_eq!(Cursor::parse(bad), Err(NotACursor), "{bad}");
        }
    }
}
