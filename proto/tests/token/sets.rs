//! Sets of keys as identity providers publish them.

use super::*;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use proto::token::jwks::{JwksError, JwksSource};

fn source(algorithm: Algorithm) -> JwksSource {
    JwksSource {
        url: "https://id.example/keys".into(),
        algorithm,
        issuer: Some("https://id.example".into()),
        audience: None,
        allow_private_address: false,
    }
}

/// A key as an identity provider publishes it.
fn jwk(algorithm: Algorithm, kid: &str) -> Value {
    let pair = pair_of(algorithm);
    if algorithm == EdDSA {
        let base64: String =
            pair.public_pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(base64).unwrap();
        // What is before the 32 bytes of the key says what they are (RFC 8410, 4).
        let x = URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
        return json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
    }
    let mut jwk = Jwk::from_encoding_key(&pair.private, algorithm).unwrap();
    jwk.common.key_id = Some(kid.into());
    json!(jwk)
}

fn read(algorithm: Algorithm, keys: &[Value]) -> Result<Vec<Key>, JwksError> {
    source(algorithm).read(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn keys_of_a_set_verify_tokens_of_their_name() {
    for algorithm in WITH_PAIRS {
        let keys = read(algorithm, &[jwk(algorithm, "1")]).unwrap();
        let app = App { jwks: vec![source(algorithm)], ..app() };
        let token = |kid: &str, issuer: &str| {
            let header = format!(r#"{{"alg":"{algorithm:?}","kid":"{kid}"}}"#);
            let claims = json!({ "sub": "7", "exp": NOW + 60, "iss": issuer }).to_string();
            let text = sign(&pair_of(algorithm).private, algorithm, &header, &claims);
            verify(&text, &app, &keys, NOW * 1000)
        };
        token("1", "https://id.example").unwrap();
        assert_eq!(token("2", "https://id.example"), Err(TokenError::UnknownKey));
        assert_eq!(token("1", "https://other.example"), Err(TokenError::Issuer));
        let by_secret = verify(&with(json!({})), &app, &keys, NOW * 1000);
        assert_eq!(by_secret, Err(TokenError::Algorithm));
    }
}

#[test]
fn a_set_is_read_for_one_algorithm_and_the_rest_of_it_is_left_out() {
    let changed = |name: &str, value: Value| {
        let mut jwk = jwk(RS256, "1");
        jwk[name] = value;
        jwk
    };
    let good = jwk(RS256, "1");
    for other in [
        json!("text"),
        json!({}),
        json!({ "kty": "unheard-of" }),
        json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "RS256" }),
        jwk(ES256, "1"),
        jwk(EdDSA, "1"),
        changed("alg", json!("PS256")),
        changed("use", json!("enc")),
        changed("e", json!("AA")),
        changed("n", json!("AAAA")),
        changed("n", json!("not base64!")),
    ] {
        assert_eq!(
            read(RS256, std::slice::from_ref(&other)),
            Err(JwksError::NoneFits(RS256)),
            "{other}"
        );
        assert_eq!(read(RS256, &[other, good.clone()]).unwrap().len(), 1);
    }
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0" });
    assert_eq!(read(HS256, &[secret]), Err(JwksError::NoneFits(HS256)));
    let curve = json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" });
    assert_eq!(read(ES256, &[curve]), Err(JwksError::NoneFits(ES256)));
    assert_eq!(read(RS256, &vec![good.clone(); 64]).unwrap().len(), 64);
    assert_eq!(read(RS256, &vec![good; 65]), Err(JwksError::TooMany(65)));
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
        assert_eq!(source(RS256).read(text.as_bytes()), Err(JwksError::NotJwks));
    }
}
