//! Which keys an app takes, and what each is for.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING};

use super::pairs::{ED, P256, P384, Pair, RSA, ec, ed, pem, rsa};
use super::*;
use proto::token::KeyError;

#[test]
fn both_secrets_count_during_a_rotation() {
    let mut app = app();
    let token = with(json!({}));
    app.secrets.insert(0, Secret::new("new-secret"));
    check(&token, &app).unwrap();
    check(&sign_hs("new-secret", HS256_HEADER, &good_claims().to_string()), &app).unwrap();
    app.secrets.truncate(1);
    assert_eq!(check(&token, &app), Err(TokenError::Signature));
}

#[test]
fn every_algorithm_verifies_its_own_signatures_and_no_others() {
    let claims = good_claims().to_string();
    for own in WITH_PAIRS {
        let app = app_with(vec![key(own)]);
        for other in WITH_PAIRS {
            let header = format!(r#"{{"alg":"{other:?}"}}"#);
            let token = sign(&pair_of(other).private, other, &header, &claims);
            let expected = if own == other { None } else { Some(TokenError::Algorithm) };
            assert_eq!(check(&token, &app).err(), expected, "{other:?} for {own:?}");
            // The header lies about the algorithm.
            let header = format!(r#"{{"alg":"{own:?}"}}"#);
            let token = sign(&pair_of(other).private, other, &header, &claims);
            let expected = if own == other { None } else { Some(TokenError::Signature) };
            assert_eq!(check(&token, &app).err(), expected, "{other:?} as {own:?}");
        }
        let header = format!(r#"{{"alg":"{own:?}"}}"#);
        let stranger = match own {
            ES256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            EdDSA => ed(),
            _ => rsa(),
        };
        let token = sign(&stranger.private, own, &header, &claims);
        assert_eq!(check(&token, &app), Err(TokenError::Signature), "{own:?} of a stranger");
    }
}

#[test]
fn a_header_that_names_the_algorithm_of_another_key_is_refused() {
    let app = app_with(vec![key(ES256), key(EdDSA)]);
    let token = |header: &str| sign(&P256.private, ES256, header, &good_claims().to_string());
    check(&token(r#"{"alg":"ES256"}"#), &app).unwrap();
    assert_eq!(check(&token(r#"{"alg":"EdDSA"}"#), &app), Err(TokenError::Signature));
}

#[test]
fn secrets_for_tokens_alone_sign_with_the_algorithm_they_are_for() {
    let secret = "0123456789abcdef0123456789abcdef";
    for own in [HS256, HS384, HS512] {
        let app = app_with(vec![Key::from_secret(own, &Secret::new(secret)).unwrap()]);
        for other in [HS256, HS384, HS512] {
            let header = format!(r#"{{"alg":"{other:?}"}}"#);
            let private = EncodingKey::from_secret(secret.as_bytes());
            let token = sign(&private, other, &header, &good_claims().to_string());
            assert_eq!(check(&token, &app).is_ok(), own == other);
        }
    }
}

#[test]
fn with_keys_of_its_own_an_app_takes_no_tokens_by_its_secret() {
    let app = app_with(vec![key(ES256)]);
    assert_eq!(check(&with(json!({})), &app), Err(TokenError::Algorithm));
}

#[test]
fn a_key_with_a_name_is_for_tokens_of_that_name_and_of_none() {
    let (one, two) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let named = |pair: &Pair, kid: Option<&str>| {
        let mut key = Key::from_pem(ES256, &pair.public_pem).unwrap();
        key.kid = kid.map(str::to_owned);
        key
    };
    let token = |pair: &Pair, kid: &str| {
        let header = format!(r#"{{"alg":"ES256"{kid}}}"#);
        sign(&pair.private, ES256, &header, &good_claims().to_string())
    };
    let both = app_with(vec![named(&one, Some("1")), named(&two, Some("2"))]);
    for (pair, kid, expected) in [
        (&one, r#","kid":"1""#, None),
        (&two, r#","kid":"2""#, None),
        (&one, r#","kid":"2""#, Some(TokenError::Signature)),
        (&one, r#","kid":"3""#, Some(TokenError::UnknownKey)),
        (&one, r#","kid":"""#, Some(TokenError::UnknownKey)),
        (&two, "", None),
    ] {
        assert_eq!(check(&token(pair, kid), &both).err(), expected, "{kid}");
    }
    let unnamed = app_with(vec![named(&one, None)]);
    check(&token(&one, r#","kid":"whatever""#), &unnamed).unwrap();
}

#[test]
fn a_key_can_ask_for_an_issuer_and_an_audience() {
    let mut key =
        Key::from_secret(HS256, &Secret::new("0123456789abcdef0123456789abcdef")).unwrap();
    key.issuer = Some("https://id.example".into());
    key.audience = Some("handbell".into());
    let app = app_with(vec![key]);
    for (claims, expected) in [
        (json!({ "iss": "https://id.example", "aud": "handbell" }), None),
        (json!({ "iss": "https://id.example", "aud": ["other", "handbell"] }), None),
        (json!({ "iss": "https://id.example/", "aud": "handbell" }), Some(TokenError::Issuer)),
        (json!({ "aud": "handbell" }), Some(TokenError::Issuer)),
        (json!({ "iss": "https://id.example" }), Some(TokenError::Audience)),
        (json!({ "iss": "https://id.example", "aud": [] }), Some(TokenError::Audience)),
        (json!({ "iss": "https://id.example", "aud": "handbel" }), Some(TokenError::Audience)),
    ] {
        let mut all = good_claims();
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let token = sign_hs("0123456789abcdef0123456789abcdef", HS256_HEADER, &all.to_string());
        assert_eq!(check(&token, &app).err(), expected, "{claims}");
    }
}

#[test]
fn what_is_no_key_is_refused_when_it_is_configured() {
    let secret = |algorithm, text: &str| Key::from_secret(algorithm, &Secret::new(text)).err();
    assert_eq!(secret(RS256, &"s".repeat(32)), Some(KeyError::NeedsPublicKey));
    assert_eq!(secret(HS256, &"s".repeat(31)), Some(KeyError::ShortSecret(31)));
    assert_eq!(secret(HS256, &RSA.public_pem), Some(KeyError::PemAsSecret));

    const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDZsEyguL4BNAskFHSuseM7mZNW
ANed4ftHHZX/G69MQfwInLV2dUhC2wXG1nb2iYqEEPvDkIXNO2tmm82MjD6pShKu
1plLRpx1w5v6hwp+E40qyDJ9Esi+l/d1EfyYMWxGb8v5KV2gh63HXCZmQEC7Lax1
CpQWLwp3VR/FtsFNhwIDAQAB
-----END PUBLIC KEY-----
";
    let (rsa, p256, p384, ed) =
        (&RSA.public_pem, &P256.public_pem, &P384.public_pem, &ED.public_pem);
    let private = pem("PRIVATE KEY", b"secret");
    let certificate = pem("CERTIFICATE", b"certificate");
    let broken = rsa.replace("MIIB", "MIIC");
    let cut: String = p256.lines().take(2).collect();
    for (algorithm, text, part) in [
        (HS256, rsa.as_str(), "take a `secret`"),
        (RS256, "", "not one public key"),
        (RS256, "secret", "not one public key"),
        (RS256, &private, "not one public key"),
        (RS256, &certificate, "not one public key"),
        (RS256, &format!("{rsa}{rsa}"), "not one public key"),
        (RS256, &format!("{rsa}{private}"), "not one public key"),
        (RS256, &broken, "needs an RSA key"),
        (RS256, RSA_1024, "1024 bits"),
        (RS256, p256, "needs an RSA key"),
        (PS512, ed, "needs an RSA key"),
        (ES256, &cut, "P-256"),
        (ES256, rsa, "P-256"),
        (ES256, p384, "P-256"),
        (ES256, ed, "P-256"),
        (ES384, p256, "P-384"),
        (EdDSA, p256, "Ed25519"),
        (EdDSA, rsa, "Ed25519"),
    ] {
        let error = Key::from_pem(algorithm, text).unwrap_err().to_string();
        assert!(error.contains(part), "{algorithm:?}: {error:?} does not say {part:?}");
    }
}

#[test]
fn a_key_shows_nothing_of_itself() {
    let key = Key::from_secret(HS256, &Secret::new("zebra".repeat(8))).unwrap();
    assert!(!format!("{key:?}").contains("zebra"));
    assert!(!format!("{:?}", app_with(vec![key])).contains("zebra"));
}

/// Made with PyJWT 2 and its keys: each is an algorithm, a PEM file and a token.
#[test]
fn tokens_of_another_library_are_accepted() {
    let lines: Vec<&str> = include_str!("../data/pyjwt.txt").lines().collect();
    let mut algorithms = Vec::new();
    for part in lines.split_inclusive(|line| line.contains('.')) {
        let [algorithm, pem @ .., token] = part else { unreachable!() };
        let key = Key::from_pem(algorithm.parse().unwrap(), &pem.join("\n")).unwrap();
        let user = check(token, &app_with(vec![key])).unwrap().user;
        assert_eq!(user.as_str(), "7");
        algorithms.push(*algorithm);
    }
    assert_eq!(algorithms, ["RS256", "PS384", "ES256", "ES384", "EdDSA"]);
}
