//! What a token says: each claim read by its rule, before anything is made of it.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::name::UserId;

use super::TokenError;
use super::object::Object;

/// Seconds from 1970 to the year 10000. A later `exp` is a mistake, mostly milliseconds.
const SECONDS_MAX: f64 = 253_402_300_800.0;

/// The claims that mean something here, of the right types.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) user: UserId,
    pub(super) expires_unix_ms: u64,
    pub(super) starts_unix_ms: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) app: Option<String>,
    pub(super) role: Option<String>,
    pub(super) permissions: Option<Vec<String>>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Vec<String>,
}

/// `aud` (RFC 7519, 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    /// `unless_said` is the `exp` of claims that have none, in milliseconds.
    pub(super) fn read(claims: &Object, unless_said: Option<u64>) -> Result<Self, TokenError> {
        let user: String = needed(claims, "sub", "a text that says who the user is")?;
        let expires_unix_ms = time(claims, "exp")?.or(unless_said).ok_or(TokenError::Expiry)?;
        let starts_unix_ms = time(claims, "nbf")?;
        let issued = time(claims, "iat")?;
        if starts_unix_ms.max(issued).is_some_and(|start| start >= expires_unix_ms) {
            return Err(TokenError::Never);
        }
        let audience = match optional(claims, "aud", "a text or a list of texts")? {
            None => Vec::new(),
            Some(Audience::One(one)) => vec![one],
            Some(Audience::Many(many)) => many,
        };
        Ok(Self {
            user: UserId::parse(&user).map_err(TokenError::User)?,
            expires_unix_ms,
            starts_unix_ms,
            id: optional(claims, "jti", "a text")?,
            app: optional(claims, "app", "the key of an app, a text")?,
            role: optional(claims, "role", "a text, the name of one role")?,
            permissions: optional(claims, "permissions", "a list of patterns, each a text")?,
            issuer: optional(claims, "iss", "a text")?,
            audience,
        })
    }
}

fn optional<T: DeserializeOwned>(
    claims: &Object,
    name: &'static str,
    rule: &'static str,
) -> Result<Option<T>, TokenError> {
    claims.get(name).map_err(|_| TokenError::Claim { name, rule })
}

fn needed<T: DeserializeOwned>(
    claims: &Object,
    name: &'static str,
    rule: &'static str,
) -> Result<T, TokenError> {
    optional(claims, name, rule)?.ok_or(TokenError::Claim { name, rule })
}

/// A `NumericDate` in milliseconds: seconds since 1970, which may have a fraction (RFC 7519, 2).
fn time(claims: &Object, name: &'static str) -> Result<Option<u64>, TokenError> {
    let rule = "a number of seconds since 1970 and before the year 10000, not of milliseconds";
    let seconds: Option<f64> = optional(claims, name, rule)?;
    let in_range = |seconds: f64| (0.0..SECONDS_MAX).contains(&seconds);
    match seconds {
        Some(seconds) if !in_range(seconds) => Err(TokenError::Claim { name, rule }),
        // It is in range, so that nothing is cut off but parts of a millisecond.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(seconds) => Ok(Some((seconds * 1000.0) as u64)),
        None => Ok(None),
    }
}
