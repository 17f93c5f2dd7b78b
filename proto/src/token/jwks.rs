//! JSON Web Key Sets (RFC 7517, 5): keys that an identity provider publishes at an address.

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use super::key::{Algorithm, Key};

/// Most keys of one set.
pub const KEYS_MAX: usize = 64;

/// A set of keys at an address, and what its keys are for.
#[derive(Clone, Debug, PartialEq)]
pub struct JwksSource {
    /// Where the set is: an `https` address, or an `http` one in a private range.
    pub url: String,
    /// The one algorithm that its keys are used with.
    pub algorithm: Algorithm,
    /// What `iss` of tokens must be.
    pub issuer: Option<String>,
    /// What must be in `aud` of tokens.
    pub audience: Option<String>,
    /// Whether the address may lie in a loopback, private or otherwise non-global range.
    pub allow_private_address: bool,
}

/// Why something is not a set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It is something else.
    #[error("it is not a JSON object with a list `keys`")]
    NotJwks,
    /// The set is too large.
    #[error("it has {0} keys, the limit is {KEYS_MAX}")]
    TooMany(usize),
    /// No key of the set can be used.
    #[error("none of its keys is one for {0:?} signatures")]
    NoneFits(Algorithm),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl JwksSource {
    /// Reads the keys of a set that are for the source's algorithm. Others are left out: they may be
    /// for encryption, or of a kind that is not known here. Secrets are never taken from a set.
    ///
    /// # Errors
    /// What the set breaks as a whole.
    pub fn read(&self, json: &[u8]) -> Result<Vec<Key>, JwksError> {
        let set: KeySet = serde_json::from_slice(json).map_err(|_| JwksError::NotJwks)?;
        if set.keys.len() > KEYS_MAX {
            return Err(JwksError::TooMany(set.keys.len()));
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(|key| self.key(key)).collect();
        if keys.is_empty() {
            return Err(JwksError::NoneFits(self.algorithm));
        }
        Ok(keys)
    }

    fn key(&self, key: Value) -> Option<Key> {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        let is_for_this = jwk
            .common
            .key_algorithm
            .is_none_or(|algorithm| algorithm.to_string() == format!("{:?}", self.algorithm));
        let is_for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
        if !is_for_this || !is_for_signatures {
            return None;
        }
        let mut key = Key::from_jwk(self.algorithm, &jwk).ok()?;
        key.kid = jwk.common.key_id;
        key.issuer.clone_from(&self.issuer);
        key.audience.clone_from(&self.audience);
        Some(key)
    }
}
