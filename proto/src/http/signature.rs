//! Signatures of HTTP requests (Pusher HTTP API reference, "Authentication").
//!
//! The string to sign is `METHOD\nPATH\nQUERY`: all query parameters but `auth_signature`, names in
//! lower case, sorted by name, joined as `k=v` with `&`, values as they are after URL decoding.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::app::{App, Secret};

/// Seconds that a request's time may differ from ours, either way.
pub const TIMESTAMP_WINDOW_SECONDS: u64 = 600;

/// Why a request is not authentic. The text tells its sender what to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A parameter is not there.
    #[error("the query parameter `{0}` is missing")]
    Missing(&'static str),
    /// A parameter is there twice: which one was signed cannot be told.
    #[error("the query parameter `{0}` is given twice")]
    Duplicate(String),
    /// A name or a value contains what the string to sign puts between them: it could mean two
    /// queries.
    #[error("the query parameter `{0}` contains a separator, encoded")]
    Separator(String),
    /// The key belongs to no app, or to another one.
    #[error("the auth_key is not this app's key")]
    WrongKey,
    /// `auth_version` is not `1.0`.
    #[error("the auth_version must be 1.0")]
    WrongVersion,
    /// `auth_timestamp` is not a number of seconds, or too far from our clock.
    #[error("the auth_timestamp must be within 600 seconds of the server's time, which is {0}")]
    WrongTime(u64),
    /// `body_md5` is not the MD5 of the body.
    #[error("the body_md5 is not the MD5 of the body")]
    WrongBody,
    /// `auth_signature` is wrong.
    #[error("the auth_signature is wrong; the string to sign begins with `{method}\\n{path}\\n`")]
    WrongSignature {
        /// The method as it was received.
        method: String,
        /// The path as it was received.
        path: String,
    },
}

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path as it was sent, not decoded. A signature of the decoded path counts as well.
    pub path: &'a str,
    /// The query.
    pub query: &'a Query,
    /// The bytes of the body as received.
    pub body: &'a [u8],
}

/// A query string: names in lower case, values decoded, no name twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a raw query string.
    ///
    /// # Errors
    /// [`SignatureError::Duplicate`] if two names are equal but for case,
    /// [`SignatureError::Separator`] if the query could be signed as another one.
    pub fn parse(raw: &str) -> Result<Self, SignatureError> {
        let mut pairs: Vec<(String, String)> = form_urlencoded::parse(raw.as_bytes())
            .map(|(name, value)| {
                let mut name = name.into_owned();
                name.make_ascii_lowercase();
                (name, value.into_owned())
            })
            .collect();
        pairs.sort();
        let has_separator = |(name, value): &&(String, String)| {
            name.contains(['&', '=']) || value.contains(['&', '\n'])
        };
        if let Some((name, _)) = pairs.iter().find(has_separator) {
            return Err(SignatureError::Separator(name.clone()));
        }
        match pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(twice) => Err(SignatureError::Duplicate(twice[0].0.clone())),
            None => Ok(Self(pairs)),
        }
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    fn require(&self, name: &'static str) -> Result<&str, SignatureError> {
        self.get(name).ok_or(SignatureError::Missing(name))
    }

    fn canonical(&self) -> String {
        let signed = self.0.iter().filter(|(name, _)| name != "auth_signature");
        let pairs: Vec<String> = signed.map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }
}

/// Checks that a request was signed with one of the app's secrets, recently.
///
/// # Errors
/// The first rule that is broken. Signatures are compared in constant time.
pub fn verify(app: &App, signed: Signed<'_>, unix_seconds: u64) -> Result<(), SignatureError> {
    let query = signed.query;
    if query.require("auth_key")? != app.key {
        return Err(SignatureError::WrongKey);
    }
    if query.require("auth_version")? != "1.0" {
        return Err(SignatureError::WrongVersion);
    }
    check_time(query.require("auth_timestamp")?, unix_seconds)?;
    check_body(query.get("body_md5"), signed.body)?;
    let signature = query.require("auth_signature")?;
    let Signed { method, path, .. } = signed;
    let canonical = query.canonical();
    let is_signed_as = |path: &str| {
        let text = format!("{method}\n{path}\n{canonical}");
        is_signed(&app.secrets, text.as_bytes(), signature)
    };
    if is_signed_as(path) || decoded(path).is_some_and(|path| is_signed_as(&path)) {
        return Ok(());
    }
    let (method, path) = (method.to_owned(), path.to_owned());
    Err(SignatureError::WrongSignature { method, path })
}

/// The path as the SDKs sign it when a user id in it has characters that a path has not: they sign
/// it as it is and send it encoded. An encoded slash would make it another path.
fn decoded(path: &str) -> Option<String> {
    if !path.contains('%') || path.to_ascii_lowercase().contains("%2f") {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn check_time(timestamp: &str, unix_seconds: u64) -> Result<(), SignatureError> {
    let is_plain = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
    let seconds = is_plain.then(|| timestamp.parse::<u64>().ok()).flatten();
    match seconds {
        Some(s) if s.abs_diff(unix_seconds) <= TIMESTAMP_WINDOW_SECONDS => Ok(()),
        _ => Err(SignatureError::WrongTime(unix_seconds)),
    }
}

fn check_body(claimed: Option<&str>, body: &[u8]) -> Result<(), SignatureError> {
    match claimed {
        // The Python SDK signs the empty body of its GET requests too.
        Some(md5) if md5.eq_ignore_ascii_case(&hex::encode(Md5::digest(body))) => Ok(()),
        Some(_) => Err(SignatureError::WrongBody),
        None if body.is_empty() => Ok(()),
        None => Err(SignatureError::Missing("body_md5")),
    }
}

/// HMAC-SHA256 in lower-case hex.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn sign(secret: &str, text: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text);
    hex::encode(mac.finalize().into_bytes())
}

/// Whether one of the secrets signs `text` like this. Takes as long for any wrong signature.
#[must_use]
pub fn is_signed(secrets: &[Secret], text: &[u8], signature: &str) -> bool {
    let matches = secrets.iter().fold(0, |matches, secret| {
        let expected = sign(secret.expose(), text);
        matches | expected.as_bytes().ct_eq(signature.as_bytes()).unwrap_u8()
    });
    matches == 1
}

/// The query string of a signed request, for clients: the CLI, the load test and the tests.
#[must_use]
pub fn signed_query(
    app: (&str, &Secret),
    (method, path, body): (&str, &str, &[u8]),
    parameters: &[(&str, &str)],
    unix_seconds: u64,
) -> String {
    let (key, secret) = app;
    let mut pairs: Vec<(String, String)> =
        parameters.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    pairs.push(("auth_key".into(), key.into()));
    pairs.push(("auth_timestamp".into(), unix_seconds.to_string()));
    pairs.push(("auth_version".into(), "1.0".into()));
    if !body.is_empty() {
        pairs.push(("body_md5".into(), hex::encode(Md5::digest(body))));
    }
    pairs.sort();
    let text = format!("{method}\n{path}\n{}", Query(pairs.clone()).canonical());
    pairs.push(("auth_signature".into(), sign(secret.expose(), text.as_bytes())));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests;
