//! Names, parsed once at the edge and cheap to clone afterwards: a value of these types is valid.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

mod kind;

pub use kind::{Access, ChannelKind};

/// Longest channel name, in bytes (the limit of the Pusher server SDKs).
pub const CHANNEL_NAME_BYTES_MAX: usize = 200;
/// Longest event name, in bytes (the limit of the Pusher server SDKs).
pub const EVENT_NAME_BYTES_MAX: usize = 200;
/// Longest user id, in bytes.
pub const USER_ID_BYTES_MAX: usize = 128;
/// What a channel of one user's own events begins with; pusher-js subscribes to it after a signin.
pub const USER_CHANNEL_PREFIX: &str = "#server-to-user-";
/// What a channel begins with that stands for a session which any node can find.
const SESSION_CHANNEL_PREFIX: &str = "#session-";

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the {what} is empty")]
    Empty {
        /// Which kind of name was expected.
        what: &'static str,
    },
    /// The name has more bytes than allowed.
    #[error("the {what} has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Which kind of name was expected.
        what: &'static str,
        /// How long it was.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The name contains a character that such names cannot have.
    #[error("the {what} has a character that is not allowed at byte {at}; allowed: {allowed}")]
    Character {
        /// Which kind of name was expected.
        what: &'static str,
        /// Byte index of the first bad character.
        at: usize,
        /// The allowed characters, for a person.
        allowed: &'static str,
    },
}

fn check(
    text: &str,
    what: &'static str,
    limit: usize,
    allowed: (fn(char) -> bool, &'static str),
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > limit {
        let bytes = text.len();
        return Err(NameError::TooLong { what, bytes, limit });
    }
    match text.char_indices().find(|&(_, c)| !allowed.0(c)) {
        Some((at, _)) => {
            let allowed = allowed.1;
            Err(NameError::Character { what, at, allowed })
        }
        None => Ok(()),
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        text_name! { $(#[$doc])* $name, parse }
    };
    ($(#[$doc:meta])* $name:ident, $read:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::$read(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

text_name! {
    /// The id of an app, as it stands in the paths of the HTTP API: 1–64 of `A-Z a-z 0-9 _ -`.
    AppId
}
text_name! {
    /// A channel's name: 1–200 of `A-Z a-z 0-9 _ - = @ , . ; :`, or `#server-to-user-` and a user id.
    /// Nodes also have `#session-` and the id of a session among themselves.
    ChannelName, parse_any
}
text_name! {
    /// A user's id as the application gave it: 1–128 bytes of anything.
    UserId
}
text_name! {
    /// The name of an event: 1–200 bytes of anything.
    EventName
}
text_name! {
    /// The stable name of a node, the same over its restarts.
    NodeId
}

impl AppId {
    /// Checks and keeps an app's id.
    ///
    /// # Errors
    /// The rule of [`AppId`] that the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain: fn(char) -> bool = |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        check(text, "app id", 64, (plain, "A-Z a-z 0-9 _ -"))?;
        Ok(Self(text.into()))
    }
}

impl ChannelName {
    /// Checks and keeps a channel's name.
    ///
    /// # Errors
    /// The rule of [`ChannelName`] that the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(USER_CHANNEL_PREFIX) {
            Some(user) => UserId::parse(user).map(|user| Self::of_user(&user)),
            None => {
                check(text, "channel name", CHANNEL_NAME_BYTES_MAX, PLAIN)?;
                Ok(Self(text.into()))
            }
        }
    }

    /// As [`ChannelName::parse`], of a name that another node says.
    fn parse_any(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(SESSION_CHANNEL_PREFIX) {
            Some(id) => {
                check(id, "session", CHANNEL_NAME_BYTES_MAX, PLAIN)?;
                Ok(Self(text.into()))
            }
            None => Self::parse(text),
        }
    }

    /// The channel that stands for a session: who holds it is signed in there, and what its client is
    /// to be given when it comes back is its last event. No client can name it.
    ///
    /// # Errors
    /// If the id is not 1–200 of the characters of channels' names.
    pub fn of_session(id: &str) -> Result<Self, NameError> {
        Self::parse_any(&format!("{SESSION_CHANNEL_PREFIX}{id}"))
    }

    /// The channel that carries the events sent to one user.
    #[must_use]
    pub fn of_user(user: &UserId) -> Self {
        Self(format!("{USER_CHANNEL_PREFIX}{user}").into())
    }

    /// The user whose own channel this is, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        let id = self.0.strip_prefix(USER_CHANNEL_PREFIX)?;
        Some(UserId(id.into()))
    }

    /// What the prefix of the name makes of the channel.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        ChannelKind::of(&self.0)
    }
}

const PLAIN: (fn(char) -> bool, &str) = (is_channel_character, "A-Z a-z 0-9 _ - = @ , . ; :");

fn is_channel_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '=' | '@' | ',' | '.' | ';' | ':')
}

impl UserId {
    /// Checks and keeps a user's id.
    ///
    /// # Errors
    /// [`NameError::Empty`] or [`NameError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, "user id", USER_ID_BYTES_MAX, (|_| true, ""))?;
        Ok(Self(text.into()))
    }
}

impl EventName {
    /// Checks and keeps an event's name.
    ///
    /// # Errors
    /// [`NameError::Empty`] or [`NameError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check(text, "event name", EVENT_NAME_BYTES_MAX, (|_| true, ""))?;
        Ok(Self(text.into()))
    }
}

impl NodeId {
    /// Checks and keeps a node's name: 1–64 of `A-Z a-z 0-9 _ - .`.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain: fn(char) -> bool = |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        check(text, "node id", 64, (plain, "A-Z a-z 0-9 _ - ."))?;
        Ok(Self(text.into()))
    }
}

/// A channel of an app: what everything about channels is keyed by, so that apps cannot mix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct ChannelKey {
    /// The app it belongs to.
    pub app: AppId,
    /// Its name within the app.
    pub channel: ChannelName,
}

/// A connection's public id, `high.low` in decimal digits: the form that the SDKs check for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct SocketId {
    high: u64,
    low: u64,
}

/// A text that is not `digits.digits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a socket id is two numbers with a dot between them")]
pub struct SocketIdError;

impl SocketId {
    /// Makes an id from 128 bits that the caller drew at random.
    #[must_use]
    pub const fn from_random(bits: u128) -> Self {
        #[allow(clippy::cast_possible_truncation)]
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// Reads an id in its text form.
    ///
    /// # Errors
    /// [`SocketIdError`] if it is not two unsigned 64-bit numbers around one dot.
    pub fn parse(text: &str) -> Result<Self, SocketIdError> {
        let (high, low) = text.split_once('.').ok_or(SocketIdError)?;
        let number = |digits: &str| {
            let is_plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            is_plain.then(|| digits.parse().ok()).flatten()
        };
        match (number(high), number(low)) {
            (Some(high), Some(low)) => Ok(Self { high, low }),
            _ => Err(SocketIdError),
        }
    }

    /// A number spread evenly over the ids, to share connections out with.
    #[must_use]
    pub const fn spread(self) -> u64 {
        self.low
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.high, self.low)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One life of a node as the place where subscribers are connected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct RelayId {
    /// The node.
    pub node: NodeId,
    /// Which of its starts this is: larger is later.
    pub incarnation: u64,
}

#[cfg(test)]
mod tests;
