//! What the prefix of a channel's name makes of it.

use serde::{Deserialize, Serialize};

use super::{SESSION_CHANNEL_PREFIX, USER_CHANNEL_PREFIX};

/// Who may subscribe to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Access {
    /// Anyone who knows the app's key.
    Public,
    /// Who shows a signature or a token for it.
    Private,
    /// As private, and the subscriber says who it is.
    Presence,
}

/// What a channel's name says about it. The longest matching prefix decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct ChannelKind {
    /// Who may subscribe.
    pub access: Access,
    /// Whether payloads are encrypted by publishers and opaque to the server.
    pub encrypted: bool,
    /// Whether the last published event is kept and given to new subscribers.
    pub cache: bool,
    /// Whether this is one of the server's own: `#server-to-user-…`, which only its signed-in user may
    /// have, or `#session-…`, which nobody may.
    pub reserved: bool,
}

impl ChannelKind {
    pub(super) fn of(name: &str) -> Self {
        use Access::{Presence, Private, Public};
        // Longest first, so that `private-encrypted-cache-` is not taken for `private-`.
        const PREFIXES: [(&str, Access, bool, bool); 10] = [
            ("private-encrypted-cache-", Private, true, true),
            ("private-encrypted-", Private, true, false),
            ("private-cache-", Private, false, true),
            ("presence-cache-", Presence, false, true),
            ("presence-", Presence, false, false),
            ("private-", Private, false, false),
            ("private:", Private, false, false),
            ("system:", Private, false, false),
            ("cache-", Public, false, true),
            ("user:", Private, false, false),
        ];
        let is_session = name.starts_with(SESSION_CHANNEL_PREFIX);
        let reserved = is_session || name.starts_with(USER_CHANNEL_PREFIX);
        let found = PREFIXES.iter().find(|(p, ..)| name.starts_with(p));
        let (access, encrypted, cache) = found
            .map_or((Public, false, is_session), |&(_, access, encrypted, cache)| {
                (access, encrypted, cache)
            });
        Self { access, encrypted, cache, reserved }
    }

    /// Whether subscribing needs a signature or a token.
    #[must_use]
    pub fn is_guarded(self) -> bool {
        self.access != Access::Public
    }

    /// Whether subscribers are members that see each other.
    #[must_use]
    pub fn is_presence(self) -> bool {
        self.access == Access::Presence
    }

    /// Whether the channel stands for a session: of the server's own it is the one that remembers.
    #[must_use]
    pub const fn is_session(self) -> bool {
        self.reserved && self.cache
    }

    /// A word for metrics: one of a small closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match (self.reserved, self.access, self.encrypted) {
            (true, ..) if self.is_session() => "session",
            (true, ..) => "user",
            (_, Access::Public, _) => "public",
            (_, Access::Presence, _) => "presence",
            (_, Access::Private, true) => "encrypted",
            (_, Access::Private, false) => "private",
        }
    }
}
