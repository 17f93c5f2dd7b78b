//! Making of tokens, for those who know an app's secret: the command line, tests, the load test.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

use crate::app::Secret;

/// What a token shall say. See `docs/doors/tokens.md` for the meaning of the claims.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Grant<'a> {
    /// Who.
    pub sub: &'a str,
    /// Until when, in seconds since 1970.
    pub exp: u64,
    /// The key of the app it is for, and for no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<&'a str>,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// Patterns beside those of the role.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub permissions: &'a [String],
}

/// Signs a token with an app's secret, by HS256.
#[must_use]
pub fn issue(secret: &Secret, grant: &Grant<'_>) -> String {
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    encode(&Header::default(), grant, &key).expect("HS256 signs whatever can be written as JSON")
}
