//! Pairs of keys of every kind.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use proto::token::Key;
use proto::token::key::Algorithm::{self, *};

/// A pair of keys, generated for this run: there is no private key in the repository.
pub(super) struct Pair {
    pub(super) private: EncodingKey,
    pub(super) public_pem: String,
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

pub(super) fn rsa() -> Pair {
    let pair = RsaPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes());
    Pair { private: private.unwrap(), public_pem: public_pem(pair.public_key()) }
}

pub(super) fn ec(curve: &'static EcdsaSigningAlgorithm) -> Pair {
    let pair = EcdsaKeyPair::generate(curve).unwrap();
    let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
    Pair { private, public_pem: public_pem(pair.public_key()) }
}

pub(super) fn ed() -> Pair {
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
    Pair { private, public_pem: public_pem(pair.public_key()) }
}

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(rsa);
pub(super) static P256: LazyLock<Pair> = LazyLock::new(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
pub(super) static P384: LazyLock<Pair> = LazyLock::new(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING));
pub(super) static ED: LazyLock<Pair> = LazyLock::new(ed);

pub(super) fn pair_of(algorithm: Algorithm) -> &'static Pair {
    match algorithm {
        RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => &RSA,
        ES256 => &P256,
        ES384 => &P384,
        EdDSA => &ED,
        HS256 | HS384 | HS512 => unreachable!("they have no pair"),
    }
}

pub(super) const WITH_PAIRS: [Algorithm; 9] =
    [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];

pub(super) fn key(algorithm: Algorithm) -> Key {
    Key::from_pem(algorithm, &pair_of(algorithm).public_pem).unwrap()
}
