//! `[[apps.jwt_keys]]`: a key that an app's tokens are signed with, and where it is.

use std::fs;
use std::path::{Path, PathBuf};

use proto::app::Secret;
use proto::token::Key;
use proto::token::jwks::JwksSource;
use proto::token::key::Algorithm;
use serde::{Deserialize, Serialize};

use crate::outgoing::guard::{Reach, check_url};

/// One key, or one set of them, for one algorithm.
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
    /// The address of a set of public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// What `iss` of tokens must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What must stand in `aud` of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whether the address of the set may lie in a loopback or private range, and be `http`.
    #[serde(default)]
    pub allow_private_address: bool,
}

/// What a section leads to.
pub(super) enum Place {
    /// A key that is here.
    Here(Key),
    /// Keys that have to be fetched.
    There(JwksSource),
}

impl JwtKeySection {
    /// Reads the key, from its file if it has one, or checks where the keys are.
    pub(super) fn read(&self) -> Result<Place, String> {
        let place = match (&self.public_key, &self.secret, &self.jwks) {
            (Some(path), None, None) => self.read_file(path).map(Place::Here),
            (None, Some(secret), None) => {
                let key = Key::from_secret(self.algorithm, secret);
                key.map(|key| Place::Here(self.complete(key))).map_err(|error| error.to_string())
            }
            (None, None, Some(url)) => self.check_set(url).map(Place::There),
            (None, None, None) => Err("`public_key`, `secret` or `jwks` is missing".into()),
            _ => Err("give one of `public_key`, `secret` and `jwks`, not several".into()),
        };
        place.map_err(|error| format!("jwt_keys: the {:?} key: {error}", self.algorithm))
    }

    fn read_file(&self, path: &Path) -> Result<Key, String> {
        let named = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
        let pem = fs::read_to_string(path).map_err(|error| named(&error))?;
        let key = Key::from_pem(self.algorithm, &pem).map_err(|error| named(&error))?;
        Ok(self.complete(key))
    }

    fn complete(&self, mut key: Key) -> Key {
        key.kid.clone_from(&self.kid);
        key.issuer.clone_from(&self.issuer);
        key.audience.clone_from(&self.audience);
        key
    }

    fn check_set(&self, url: &str) -> Result<JwksSource, String> {
        if self.kid.is_some() {
            return Err("the keys of a `jwks` have their own `kid`; leave it out".into());
        }
        if matches!(self.algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err("HS256, HS384 and HS512 take a `secret`, never a `jwks`".into());
        }
        let reach = Reach::allowing(self.allow_private_address);
        let uri = check_url(url, reach).map_err(|error| error.to_string())?;
        if uri.scheme_str() != Some("https") && reach == Reach::Global {
            return Err(format!(
                "`{url}` must be https: whoever changes the keys on their way makes tokens"
            ));
        }
        Ok(JwksSource {
            url: url.to_owned(),
            algorithm: self.algorithm,
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            allow_private_address: self.allow_private_address,
        })
    }
}
