//! Keys that signatures are checked with. Each is pinned to one algorithm when it is made: what the
//! header of a token says only chooses among keys, never how a key is used (RFC 8725, 3.1).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind, crypto};
use sha2::{Digest, Sha256};

use crate::app::Secret;

pub use jsonwebtoken::Algorithm;

/// Fewest bytes of a secret that exists for tokens alone (RFC 7518, 3.2: as long as the hash).
pub const SECRET_BYTES_MIN: usize = 32;
/// Bits that the modulus of an RSA key may have (RFC 7518, 3.3 asks for 2048 at least).
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;
const PEM: &str = "-----BEGIN ";
const PUBLIC_PEM: [&str; 2] = ["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"];

/// Why something is not a key for an algorithm. The text holds nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A public key for an algorithm with secrets.
    #[error("HS256, HS384 and HS512 take a `secret`, not a public key")]
    NeedsSecret,
    /// A secret for an algorithm with public keys.
    #[error("this algorithm takes a `public_key`; a `secret` is for HS256, HS384 and HS512")]
    NeedsPublicKey,
    /// A PEM file where the secret should be.
    #[error("the secret is a PEM file; anyone who has that public key could sign tokens with it")]
    PemAsSecret,
    /// The secret could be guessed.
    #[error("the secret has {0} bytes, at least {SECRET_BYTES_MIN} are needed (RFC 7518, 3.2)")]
    ShortSecret(usize),
    /// The text is not one public key.
    #[error("it is not one public key in PEM: it must be one block, `-----BEGIN PUBLIC KEY-----`")]
    NotPublicPem,
    /// The key is one of another family or curve, or damaged.
    #[error("it is no key for this algorithm, which needs {0}")]
    WrongKind(&'static str),
    /// The RSA key is too short or too long.
    #[error("the RSA key has {0} bits; 2048 to 8192 are taken")]
    RsaBits(u32),
}

/// A key, the algorithm it is for, and what else a token must say to be checked with it.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
    fingerprint: [u8; 32],
    /// The name that tokens call the key by. A key without one is tried for every token; one with a
    /// name for tokens of that name and those that name none.
    pub kid: Option<String>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What must be in `aud`.
    pub audience: Option<String>,
}

impl Key {
    /// A secret that exists for tokens alone.
    ///
    /// # Errors
    /// [`KeyError::NeedsPublicKey`], [`KeyError::PemAsSecret`] or [`KeyError::ShortSecret`].
    pub fn from_secret(algorithm: Algorithm, secret: &Secret) -> Result<Self, KeyError> {
        let secret = secret.expose();
        if algorithm.family() != AlgorithmFamily::Hmac {
            return Err(KeyError::NeedsPublicKey);
        }
        if secret.contains(PEM) {
            return Err(KeyError::PemAsSecret);
        }
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        Ok(Self::new(algorithm, DecodingKey::from_secret(secret.as_bytes())))
    }

    /// A live secret of an app, for HS256.
    pub(super) fn of_app(secret: &Secret) -> Self {
        let secret = secret.expose();
        Self::new(Algorithm::HS256, DecodingKey::from_secret(secret.as_bytes()))
    }

    /// A public key in PEM: `PUBLIC KEY` as `openssl pkey -pubout` writes it, or `RSA PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError::NeedsSecret`], or why it is not a key for the algorithm.
    pub fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let read: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey> = match algorithm.family()
        {
            AlgorithmFamily::Hmac => return Err(KeyError::NeedsSecret),
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem,
            AlgorithmFamily::Ec => DecodingKey::from_ec_pem,
            AlgorithmFamily::Ed => DecodingKey::from_ed_pem,
        };
        // A private key or a certificate would be taken for a public key that verifies nothing.
        let is_public = PUBLIC_PEM.iter().any(|label| pem.trim_start().starts_with(label));
        if !is_public || pem.matches(PEM).count() != 1 {
            return Err(KeyError::NotPublicPem);
        }
        let wrong = |_| KeyError::WrongKind(needs(algorithm));
        let decoding = read(pem.as_bytes()).map_err(wrong)?;
        check_public(algorithm, decoding.as_bytes())?;
        Ok(Self::new(algorithm, decoding))
    }

    /// A public key of a set.
    ///
    /// # Errors
    /// [`KeyError::NeedsSecret`], or why it is not a key for the algorithm.
    pub(super) fn from_jwk(algorithm: Algorithm, jwk: &Jwk) -> Result<Self, KeyError> {
        if algorithm.family() == AlgorithmFamily::Hmac {
            return Err(KeyError::NeedsSecret);
        }
        let wrong = KeyError::WrongKind(needs(algorithm));
        let decoding = DecodingKey::from_jwk(jwk).map_err(|_| wrong.clone())?;
        let decoding = match decoding.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                rsa_of_components(n, e).ok_or_else(|| wrong.clone())?
            }
            DecodingKeyKind::SecretOrDer(_) => decoding,
        };
        if decoding.family() != algorithm.family() {
            return Err(wrong);
        }
        check_public(algorithm, decoding.as_bytes())?;
        Ok(Self::new(algorithm, decoding))
    }

    fn new(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        let fingerprint = Sha256::digest(decoding.as_bytes()).into();
        Self { algorithm, decoding, fingerprint, kid: None, issuer: None, audience: None }
    }

    /// The algorithm that the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether a token of this `alg` and `kid` may be checked with the key.
    pub(super) fn fits(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let is_named = match (self.kid.as_deref(), kid) {
            (Some(own), Some(kid)) => own == kid,
            _ => true,
        };
        self.algorithm == algorithm && is_named
    }

    /// Whether `signature`, in base64url, is that of `message`.
    pub(super) fn verifies(&self, message: &str, signature: &str) -> bool {
        let verified =
            crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm);
        verified.unwrap_or(false)
    }

    /// What tells this key from every other, and nothing of the key itself.
    pub(crate) fn describe(&self) -> impl serde::Serialize + Ord + use<> {
        let fingerprint = hex::encode(self.fingerprint);
        let algorithm = format!("{:?}", self.algorithm);
        (algorithm, fingerprint, self.kid.clone(), self.issuer.clone(), self.audience.clone())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.describe().eq(&other.describe())
    }
}

/// Without the key, which may be a secret.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { algorithm, kid, .. } = self;
        f.debug_struct("Key")
            .field("algorithm", algorithm)
            .field("kid", kid)
            .finish_non_exhaustive()
    }
}

fn rsa_of_components(n: &[u8], e: &[u8]) -> Option<DecodingKey> {
    let parsed = RsaPublicKeyComponents { n, e };
    let parsed = parsed.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
    let key = aws_lc_rs::rsa::PublicKey::from_der(parsed.as_ref()).ok()?;
    Some(DecodingKey::from_rsa_der(key.as_ref()))
}

/// Looks at a public key now, because a damaged one would be found out only by refusing each token.
fn check_public(algorithm: Algorithm, bytes: &[u8]) -> Result<(), KeyError> {
    let wrong = KeyError::WrongKind(needs(algorithm));
    let expected: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &ED25519,
        _ => &RSA_PKCS1_2048_8192_SHA256,
    };
    ParsedPublicKey::new(expected, bytes).map_err(|_| wrong.clone())?;
    if algorithm.family() == AlgorithmFamily::Rsa {
        let bits = RsaParameters::public_modulus_len(bytes).map_err(|_| wrong)?;
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaBits(bits));
        }
    }
    Ok(())
}

const fn needs(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "an EC key on the curve P-256",
        Algorithm::ES384 => "an EC key on the curve P-384",
        Algorithm::EdDSA => "an Ed25519 key",
        _ => "an RSA key",
    }
}
