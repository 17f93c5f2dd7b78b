//! What a token may do: patterns of channel names, the roles that stand for lists of them, and the
//! two questions that every token door asks.
//!
//! **The rule.** A token's list is complete: it may read and publish what a pattern of its role or
//! of its own names, and nothing else, not even channels that are public to those who show no
//! token. A token with neither role nor patterns may read the channels that anyone may read, and
//! publish nowhere. `#server-to-user-{id}` is no matter of patterns: the user of that id reads it,
//! and no client publishes on it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::name::{ChannelName, NameError, UserId};

const OWN_CHANNELS: &str = "user:self";
const USER_PREFIX: &str = "user:";
const READ_ONLY: &str = ":ro";

/// Why a text is not a pattern. It does not repeat the text, which may come from a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The `*` stands elsewhere, or twice.
    #[error("a pattern has one `*` at most, at its beginning or at its end")]
    Star,
    /// `user:self` with something behind it.
    #[error(
        "`user:self` stands alone (or with `:ro`): it covers `user:{{sub}}` and `user:{{sub}}:…`"
    )]
    OwnChannels,
    /// `#server-to-user-…`.
    #[error("no pattern grants `#server-to-user-…`: it belongs to that user alone")]
    UserChannel,
    /// What is not `*` could not be in a channel's name.
    #[error("a pattern is a channel's name with an optional `*`: {0}")]
    Name(#[from] NameError),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// Every channel whose name is not guarded: see [`Pattern::public`].
    Public,
    OwnChannels,
    Exact(String),
    Prefix(String),
    Suffix(String),
}

/// Channels that may be read, and published on unless it ends with `:ro`.
///
/// `orders` is that channel, `public:*` what begins like this, `*:news` what ends like this, `*`
/// every channel, and `user:self` the channels of the token's own user: `user:{sub}` and
/// `user:{sub}:…`. A `sub` with a colon in it has none, because they would be another user's too:
/// `user:7:8` is of the user `7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    scope: Scope,
    is_read_only: bool,
}

impl Pattern {
    /// Reading of every channel that anyone who knows the app's key may read. It cannot be written
    /// in a list, where what is granted has a name.
    #[must_use]
    pub const fn public() -> Self {
        Self { scope: Scope::Public, is_read_only: true }
    }

    fn matches(&self, user: &UserId, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        match &self.scope {
            Scope::Public => !channel.kind().is_guarded(),
            Scope::OwnChannels => is_own(user.as_str(), name),
            Scope::Exact(exact) => name == exact,
            Scope::Prefix(prefix) => name.starts_with(prefix),
            Scope::Suffix(suffix) => name.ends_with(suffix),
        }
    }
}

fn is_own(user: &str, name: &str) -> bool {
    let rest = name.strip_prefix(USER_PREFIX).and_then(|name| name.strip_prefix(user));
    !user.contains(':') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (names, is_read_only) = match text.strip_suffix(READ_ONLY) {
            Some(names) => (names, true),
            None => (text, false),
        };
        Ok(Self { scope: names.parse()?, is_read_only })
    }
}

impl FromStr for Scope {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        match text.strip_prefix(OWN_CHANNELS) {
            Some("") => return Ok(Self::OwnChannels),
            Some(rest) if rest.starts_with([':', '*']) => return Err(PatternError::OwnChannels),
            _ => {}
        }
        let (scope, fixed): (fn(String) -> Self, _) =
            match (text.strip_suffix('*'), text.strip_prefix('*')) {
                (Some(prefix), _) => (Self::Prefix, prefix),
                (None, Some(suffix)) => (Self::Suffix, suffix),
                (None, None) => (Self::Exact, text),
            };
        if fixed.contains('*') {
            return Err(PatternError::Star);
        }
        if fixed.starts_with('#') {
            return Err(PatternError::UserChannel);
        }
        if text != "*" {
            ChannelName::parse(fixed)?;
        }
        Ok(scope(fixed.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Public => f.write_str("(what anyone may read)")?,
            Scope::OwnChannels => f.write_str(OWN_CHANNELS)?,
            Scope::Exact(name) => f.write_str(name)?,
            Scope::Prefix(prefix) => write!(f, "{prefix}*")?,
            Scope::Suffix(suffix) => write!(f, "*{suffix}")?,
        }
        f.write_str(if self.is_read_only { READ_ONLY } else { "" })
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format!("pattern `{text}`: {error}")))
    }
}

/// What the roles of an app's tokens stand for.
///
/// Read from a configuration, the roles named there replace those of the same name, and the others
/// keep their default; an empty list takes everything from a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Roles(BTreeMap<String, Vec<Pattern>>);

impl Roles {
    /// The patterns of a role, if the app has it.
    #[must_use]
    pub fn patterns(&self, role: &str) -> Option<&[Pattern]> {
        self.0.get(role).map(Vec::as_slice)
    }
}

impl Default for Roles {
    fn default() -> Self {
        const DEFAULTS: [(&str, &[&str]); 3] = [
            ("admin", &["public:*", "private:*", "user:*", "system:*"]),
            ("user", &["public:*", "user:self", "system:notifications:ro"]),
            ("guest", &["public:general", "system:notifications:ro"]),
        ];
        let pattern = |text: &&str| text.parse().expect("a test parses every default");
        let role = |(name, list): (&str, &[&str])| {
            (name.to_owned(), list.iter().map(pattern).collect::<Vec<_>>())
        };
        Self(DEFAULTS.into_iter().map(role).collect())
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut roles = Self::default();
        roles.0.extend(BTreeMap::deserialize(deserializer)?);
        Ok(roles)
    }
}

/// What one token's user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    user: UserId,
    patterns: Vec<Pattern>,
}

impl Permissions {
    /// What these patterns allow this user.
    #[must_use]
    pub const fn new(user: UserId, patterns: Vec<Pattern>) -> Self {
        Self { user, patterns }
    }

    /// Whether the user may subscribe to a channel, read its history and see who is there.
    #[must_use]
    pub fn may_read(&self, channel: &ChannelName) -> bool {
        if channel.kind().reserved {
            return *channel == ChannelName::of_user(&self.user);
        }
        self.patterns.iter().any(|pattern| pattern.matches(&self.user, channel))
    }

    /// Whether the user may publish on a channel.
    #[must_use]
    pub fn may_publish(&self, channel: &ChannelName) -> bool {
        let allows =
            |pattern: &Pattern| !pattern.is_read_only && pattern.matches(&self.user, channel);
        !channel.kind().reserved && self.patterns.iter().any(allows)
    }
}

#[cfg(test)]
mod tests;
