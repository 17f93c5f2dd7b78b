//! Every close code and error code, in one place.
//!
//! What pusher-js does after a close: 4000–4099 it stops for good, 4100–4199 it comes back after a
//! second, 4200–4299 it comes back at once. A *close* code of 4300 or more would stop it for good,
//! so those are only ever the code of an error event on an open connection.

use crate::door::Close;
use crate::refusal::Refusal;

/// Codes that close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The app only takes TLS connections.
    TlsOnly = 4000,
    /// No app has this key.
    UnknownApp = 4001,
    /// The app is turned off.
    AppDisabled = 4003,
    /// The app has as many connections as it may.
    OverQuota = 4004,
    /// The protocol version is not one of ours.
    UnsupportedProtocol = 4007,
    /// The page may not connect, or the application ended the connection.
    Unauthorized = 4009,
    /// The server or the client cannot keep up: come back later.
    OverCapacity = 4100,
    /// The server is going away: come back at once, another node is there.
    Reconnect = 4200,
    /// A ping was not answered in time.
    PongMissing = 4201,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code with a reason for a person.
    #[must_use]
    pub const fn because(self, reason: &'static str) -> Close {
        let reason = std::borrow::Cow::Borrowed(reason);
        Close { code: self.number(), reason }
    }
}

/// Codes of `pusher:error` events: the connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// Not signed in, not subscribed, or the signature is wrong.
    Unauthorized = 4009,
    /// The message cannot be read or has no meaning.
    Malformed = 4300,
    /// A client event was rejected.
    ClientEventRejected = 4301,
    /// The watchlist is longer than allowed.
    WatchlistTooLong = 4302,
    /// The server could not do it now.
    Unavailable = 4303,
}

/// What stands in a `pusher:subscription_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionError {
    /// A word for programs.
    pub kind: &'static str,
    /// A number for programs.
    pub status: u16,
}

impl SubscriptionError {
    /// The kind and status of a refused subscription (numbers as soketi's, where it has them).
    #[must_use]
    pub fn of(refusal: &Refusal) -> Self {
        let (kind, status) = match refusal {
            Refusal::Unauthorized(_) => ("AuthError", 401),
            Refusal::PresenceFull { .. } => ("LimitReached", 4100),
            Refusal::TooMany { .. } | Refusal::RateLimited { .. } => ("LimitReached", 4100),
            Refusal::TooLarge { setting: "channel_name_bytes", .. } => ("LimitReached", 4009),
            Refusal::Name(crate::name::NameError::TooLong { .. }) => ("LimitReached", 4009),
            Refusal::TooLarge { .. } => ("LimitReached", 4301),
            Refusal::Unavailable => ("ServerError", 503),
            Refusal::Name(_)
            | Refusal::SocketId(_)
            | Refusal::Disabled { .. }
            | Refusal::UnknownChannel
            | Refusal::Rule(_)
            | Refusal::Malformed(_)
            | Refusal::KeyReused => ("InvalidRequest", 400),
        };
        Self { kind, status }
    }
}
