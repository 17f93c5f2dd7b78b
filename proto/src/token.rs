//! Tokens: JSON Web Tokens by which an application tells who its client is and what it may do.
//! Every door but Pusher's lets clients in by them.
//!
//! A token is checked in this order, and nothing that it says is believed before its signature: its
//! size, its header, the signature by a key of the app, then the claims. The crate `jsonwebtoken`
//! checks signatures; the rules are here, because time comes in as a value.
//!
//! Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practice).

use jsonwebtoken::Algorithm;

use crate::app::App;
use crate::name::{NameError, UserId};
use crate::permission::{Pattern, PatternError, Permissions};

mod claims;
mod issue;
pub mod jwks;
pub mod key;
mod object;

pub use issue::{Grant, issue};
pub use key::{Key, KeyError};

use claims::Claims;
use object::{Object, WrongType};

/// Most bytes of a token: the headers of a request have to fit into 16 KiB.
pub const TOKEN_BYTES_MAX: usize = 8192;
/// Milliseconds after `exp` in which a token still counts, for clocks that differ.
pub const EXPIRY_LEEWAY_MS: u64 = 5_000;
/// Milliseconds before `nbf` in which a token counts already: it does no harm, and a token that is
/// refused because it was made just now is hard to understand.
pub const START_LEEWAY_MS: u64 = 60_000;

/// How long claims count that an application answers with and that have no `exp`.
const DAY_MS: u64 = 86_400_000;

/// Who somebody is and what they may do, as a token said that was in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// `sub`.
    pub user: UserId,
    /// `role`, one of the app's.
    pub role: Option<String>,
    /// What the role and `permissions` allow together.
    pub permissions: Permissions,
    /// `exp`, in milliseconds since the Unix epoch. From then on, [`EXPIRY_LEEWAY_MS`] are left.
    pub expires_unix_ms: u64,
    /// `jti`.
    pub jti: Option<String>,
}

/// Why a token is refused. The text names the rule and holds nothing of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There are too many bytes.
    #[error("the token has {0} bytes, the limit is {TOKEN_BYTES_MAX}")]
    TooLong(usize),
    /// It is something else.
    #[error("the token is not a JWT: three parts of base64url without padding, with dots between")]
    NotJwt,
    /// The header cannot be read.
    #[error("the token's header is not a JSON object with a text `alg`, each name once")]
    Header,
    /// `typ` says that it is for something else.
    #[error("the token's `typ` must be JWT or at+jwt: a token for something else lets nobody in")]
    Kind,
    /// `crit` is there.
    #[error("the token's header has `crit`, and no extension is known here")]
    Critical,
    /// No key of the app is for this algorithm.
    #[error("the token's `alg` is not one that this app takes (`[[apps.jwt_keys]]`)")]
    Algorithm,
    /// No key of the app has this name.
    #[error("the token's `kid` is not that of a key of this app (`[[apps.jwt_keys]]`)")]
    UnknownKey,
    /// No key of the app has signed this.
    #[error("the token's signature is wrong: no key of this app has signed it")]
    Signature,
    /// The claims cannot be read.
    #[error("the token's claims are not a JSON object in which each name stands once")]
    Claims,
    /// A claim is missing or breaks its rule.
    #[error("the token's `{name}` must be {rule}")]
    Claim {
        /// Which.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// `exp` is missing.
    #[error("the token has no `exp`: it must say until when it counts, in seconds since 1970")]
    Expiry,
    /// It ends before it starts.
    #[error("the token's `exp` is not after its `nbf` and `iat`")]
    Never,
    /// `sub` cannot be a user's id.
    #[error("the token's `sub`: {0}")]
    User(NameError),
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is to come.
    #[error("the token does not count yet")]
    NotYet,
    /// `iss` is not what the key asks for.
    #[error("the token's `iss` is not the `issuer` of the key that signed it")]
    Issuer,
    /// `aud` lacks what the key asks for.
    #[error("the token's `aud` does not name the `audience` of the key that signed it")]
    Audience,
    /// `app` names another app.
    #[error("the token is for another app")]
    App,
    /// The app has no such role.
    #[error("the token's `role` is not one of this app's (`[apps.roles]`)")]
    Role,
    /// An entry of `permissions` is no pattern.
    #[error("the token's `permissions`: {0}")]
    Permission(#[from] PatternError),
}

impl TokenError {
    /// Whether the same token could be in order with other keys than those it was checked with.
    #[must_use]
    pub const fn is_about_keys(&self) -> bool {
        matches!(self, Self::Algorithm | Self::UnknownKey | Self::Signature)
    }
}

/// Checks a token for an app, by the app's keys: `[[apps.jwt_keys]]`, or its live secrets and HS256
/// if it has none.
///
/// `fetched` are keys of the app's sets ([`jwks::JwksSource`]), which somebody else looks after;
/// `unix_ms` is the time, in milliseconds since the Unix epoch.
///
/// # Errors
/// The first rule that the token breaks.
pub fn verify(text: &str, app: &App, fetched: &[Key], unix_ms: u64) -> Result<Token, TokenError> {
    if app.takes_tokens_by_secret() {
        let keys: Vec<Key> = app.secrets.iter().map(Key::of_app).collect();
        return verify_by(keys.iter(), text, app, unix_ms);
    }
    verify_by(app.jwt_keys.iter().chain(fetched), text, app, unix_ms)
}

fn verify_by<'k>(
    keys: impl Iterator<Item = &'k Key> + Clone,
    text: &str,
    app: &App,
    unix_ms: u64,
) -> Result<Token, TokenError> {
    let parts = Parts::split(text)?;
    let key = parts.signer(keys)?;
    let claims = Object::decode(parts.claims).ok_or(TokenError::Claims)?;
    let claims = Claims::read(&claims, None)?;
    if key.issuer.is_some() && key.issuer != claims.issuer {
        return Err(TokenError::Issuer);
    }
    if key.audience.as_ref().is_some_and(|audience| !claims.audience.contains(audience)) {
        return Err(TokenError::Audience);
    }
    let_in(claims, app, unix_ms)
}

/// Reads what an application says of somebody when it is asked: the claims of a token, as JSON. They
/// count for a day if no `exp` says otherwise. None if there is no `sub`, nor what it would be allowed.
///
/// # Errors
/// The first rule that they break.
pub fn granted(json: &[u8], app: &App, unix_ms: u64) -> Result<Option<Token>, TokenError> {
    let claims = Object::read(json).ok_or(TokenError::Claims)?;
    let is_about_nobody = !["sub", "role", "permissions"].iter().any(|name| claims.has(name));
    if is_about_nobody {
        return Ok(None);
    }
    let claims = Claims::read(&claims, Some(unix_ms.saturating_add(DAY_MS)))?;
    let_in(claims, app, unix_ms).map(Some)
}

/// Makes of claims that are believed what they allow, if they count now and here.
fn let_in(claims: Claims, app: &App, unix_ms: u64) -> Result<Token, TokenError> {
    if unix_ms >= claims.expires_unix_ms.saturating_add(EXPIRY_LEEWAY_MS) {
        return Err(TokenError::Expired);
    }
    if claims.starts_unix_ms.is_some_and(|start| start > unix_ms.saturating_add(START_LEEWAY_MS)) {
        return Err(TokenError::NotYet);
    }
    if claims.app.as_ref().is_some_and(|key| *key != app.key) {
        return Err(TokenError::App);
    }
    let patterns = patterns(app, &claims)?;
    Ok(Token {
        permissions: Permissions::new(claims.user.clone(), patterns),
        user: claims.user,
        role: claims.role,
        expires_unix_ms: claims.expires_unix_ms,
        jti: claims.id,
    })
}

fn patterns(app: &App, claims: &Claims) -> Result<Vec<Pattern>, TokenError> {
    let mut patterns = match &claims.role {
        Some(role) => app.roles.patterns(role).ok_or(TokenError::Role)?.to_vec(),
        None => Vec::new(),
    };
    for text in claims.permissions.iter().flatten() {
        patterns.push(text.parse()?);
    }
    if claims.role.is_none() && claims.permissions.is_none() {
        patterns.push(Pattern::public());
    }
    Ok(patterns)
}

/// The key of the app that a token says it is for. It is not checked: it only tells whose keys to
/// check the token with, and [`verify`] refuses a token that is for another app.
#[must_use]
pub fn claimed_app(text: &str) -> Option<String> {
    let parts = Parts::split(text).ok()?;
    Object::decode(parts.claims)?.get("app").ok()?
}

/// A token without the word `Bearer` before it, in any case (RFC 9110, 11.1), if it stands there.
#[must_use]
pub fn strip_bearer(text: &str) -> &str {
    let text = text.trim_matches(' ');
    match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("Bearer") => {
            rest.trim_start_matches(' ')
        }
        _ => text,
    }
}

/// A token, cut at its dots.
struct Parts<'a> {
    signed: &'a str,
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong(text.len()));
        }
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::NotJwt)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::NotJwt)?;
        if claims.contains('.') || !text.chars().all(is_base64) {
            return Err(TokenError::NotJwt);
        }
        Ok(Self { signed, header, claims, signature })
    }

    /// The key that has signed the token.
    fn signer<'k>(
        &self,
        keys: impl Iterator<Item = &'k Key> + Clone,
    ) -> Result<&'k Key, TokenError> {
        let header = Object::decode(self.header).ok_or(TokenError::Header)?;
        let algorithm: String = text(&header, "alg")?.ok_or(TokenError::Header)?;
        let kid = text(&header, "kid")?;
        if text(&header, "typ")?.is_some_and(|kind| !is_access_token(&kind)) {
            return Err(TokenError::Kind);
        }
        if header.has("crit") {
            return Err(TokenError::Critical);
        }
        // `none` is not an algorithm to begin with.
        let algorithm: Algorithm = algorithm.parse().map_err(|_| TokenError::Algorithm)?;
        if !keys.clone().any(|key| key.algorithm() == algorithm) {
            return Err(TokenError::Algorithm);
        }
        let mut candidates = keys.filter(|key| key.fits(algorithm, kid.as_deref())).peekable();
        if candidates.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        candidates
            .find(|key| key.verifies(self.signed, self.signature))
            .ok_or(TokenError::Signature)
    }
}

fn text(header: &Object, name: &str) -> Result<Option<String>, TokenError> {
    header.get(name).map_err(|WrongType| TokenError::Header)
}

/// `JWT` (RFC 7519, 5.1) or `at+jwt` (RFC 9068, 2.1); a media type may leave out `application/`.
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}
