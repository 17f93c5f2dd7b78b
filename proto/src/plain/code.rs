//! The words by which the doors of tokens say why something was refused.

use crate::refusal::Refusal;

/// The token does not allow it.
pub const PERMISSION_DENIED: &str = "permission_denied";

/// The word for a refusal.
#[must_use]
pub const fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unauthorized(_) | Refusal::Disabled { .. } => PERMISSION_DENIED,
        Refusal::Name(_) | Refusal::UnknownChannel => "channel_not_found",
        Refusal::RateLimited { .. } => "rate_limited",
        Refusal::Unavailable => "unavailable",
        Refusal::SocketId(_)
        | Refusal::TooLarge { .. }
        | Refusal::TooMany { .. }
        | Refusal::PresenceFull { .. }
        | Refusal::Rule(_)
        | Refusal::Malformed(_)
        | Refusal::KeyReused => "invalid_message",
    }
}
