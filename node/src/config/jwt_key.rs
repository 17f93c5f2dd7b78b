//! `[[apps.jwt_keys]]`: a key that an app's tokens are signed with, and the file it is in.

use std::fs;
use std::path::PathBuf;

use proto::app::Secret;
use proto::token::Key;
use proto::token::key::Algorithm;
use serde::{Deserialize, Serialize};

/// One key, for one algorithm.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JwtKeySection {
    /// The one algorithm that it is for.
    pub algorithm: Algorithm,
    /// The `kid` of tokens that are signed with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The PEM file, for RS, PS, ES and EdDSA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PathBuf>,
    /// The secret, for HS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// What `iss` of tokens must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What must stand in `aud` of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

impl JwtKeySection {
    /// Reads the key, from its file if it has one.
    pub(super) fn read(&self) -> Result<Key, String> {
        let name = format!("jwt_keys: the {:?} key", self.algorithm);
        let made = match (&self.public_key, &self.secret) {
            (Some(_), Some(_)) => return Err(format!("{name} has `public_key` and `secret`")),
            (None, None) => return Err(format!("{name} has neither `public_key` nor `secret`")),
            (None, Some(secret)) => {
                Key::from_secret(self.algorithm, secret).map_err(|error| format!("{name}: {error}"))
            }
            (Some(path), None) => {
                let name = format!("{name}, {}", path.display());
                let pem = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
                Key::from_pem(self.algorithm, &pem).map_err(|error| format!("{name}: {error}"))
            }
        };
        let mut key = made?;
        key.kid.clone_from(&self.kid);
        key.issuer.clone_from(&self.issuer);
        key.audience.clone_from(&self.audience);
        Ok(key)
    }
}
