//! What other implementations got wrong, by the number of its advisory.

use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use proto::token::KeyError;

use super::pairs::{RSA, ec, ed};
use super::*;

/// CVE-2026-25537, jsonwebtoken before 10.3.0: an `exp` or `nbf` of the wrong type was skipped.
#[test]
fn advisory_jsonwebtoken_times_of_the_wrong_type_are_not_skipped() {
    let past = (NOW - 3600).to_string();
    for claims in [
        json!({ "exp": past }),
        json!({ "exp": { "seconds": 1 } }),
        json!({ "nbf": (NOW + 3600).to_string() }),
        json!({ "nbf": [NOW + 3600] }),
        json!({ "exp": null }),
    ] {
        assert!(matches!(check(&with(claims), &app()), Err(TokenError::Claim { .. })));
    }
}

/// CVE-2015-9235 and CVE-2022-23541, node-jsonwebtoken: a token by HS256 whose secret is the text of
/// the RSA key that everybody knows.
#[test]
fn advisory_node_jsonwebtoken_a_public_key_is_no_secret() {
    let app = app_with(vec![key(RS256)]);
    for header in [HS256_HEADER, r#"{"alg":"RS256"}"#] {
        let token = sign_hs(&RSA.public_pem, header, &good_claims().to_string());
        assert!(matches!(check(&token, &app), Err(TokenError::Algorithm | TokenError::Signature)));
    }
    let secret = Secret::new(&RSA.public_pem);
    assert_eq!(Key::from_secret(HS256, &secret).err(), Some(KeyError::PemAsSecret));
}

/// CVE-2022-23540, node-jsonwebtoken: without a list of algorithms `none` was one of them.
#[test]
fn advisory_node_jsonwebtoken_none_is_no_algorithm() {
    let claims = URL_SAFE_NO_PAD.encode(good_claims().to_string());
    for none in ["none", "None", "NONE", "nOnE"] {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{none}"}}"#));
        for app in [app(), app_with(vec![key(RS256)]), app_with(vec![key(RS256), key(EdDSA)])] {
            let bare = format!("{header}.{claims}.");
            assert_eq!(check(&bare, &app), Err(TokenError::Algorithm));
        }
    }
}

/// CVE-2022-23539, node-jsonwebtoken: keys of one type were taken for algorithms of another.
#[test]
fn advisory_node_jsonwebtoken_a_key_is_for_its_own_algorithm() {
    for algorithm in WITH_PAIRS {
        for other in WITH_PAIRS {
            let is_same = pair_of(algorithm).public_pem == pair_of(other).public_pem;
            let made = Key::from_pem(algorithm, &pair_of(other).public_pem);
            assert_eq!(made.is_ok(), is_same, "a key of {other:?} for {algorithm:?}");
        }
    }
}

/// CVE-2026-49998, Centrifugo: keys were cached by `kid` alone, so that one tenant's key let its
/// tokens into another tenant that had a key of the same name.
#[test]
fn advisory_centrifugo_two_apps_with_one_kid_do_not_share_keys() {
    let apps = ["a", "b"].map(|name| {
        let pair = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let mut key = Key::from_pem(ES256, &pair.public_pem).unwrap();
        key.kid = Some("same".into());
        let id = AppId::parse(name).unwrap();
        let app = App { jwt_keys: vec![key], ..App::new(id, name, Secret::new("s")) };
        (pair, app)
    });
    for (pair, own) in &apps {
        let header = r#"{"alg":"ES256","kid":"same"}"#;
        let token = sign(&pair.private, ES256, header, &good_claims().to_string());
        for (_, app) in &apps {
            assert_eq!(check(&token, app).is_ok(), app.id == own.id);
        }
    }
}

/// CVE-2026-32301, Centrifugo: claims that nobody had checked chose where keys came from. Here no
/// claim and no header chooses more than one of the app's own keys.
#[test]
fn advisory_centrifugo_a_token_does_not_say_where_its_key_is() {
    let mine = ed();
    let header = r#"{"alg":"EdDSA","jku":"http://127.0.0.1/keys","x5u":"http://127.0.0.1/",
        "jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"},"kid":"http://127.0.0.1/keys"}"#;
    let claims = json!({ "sub": "7", "exp": NOW + 60, "iss": "http://127.0.0.1/" }).to_string();
    let token = sign(&mine.private, EdDSA, header, &claims);
    assert_eq!(check(&token, &app_with(vec![key(EdDSA)])), Err(TokenError::Signature));
}
