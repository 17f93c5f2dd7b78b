//! Tokens, good and bad: every rule in a table, the advisories of others as tests of their own, and
//! garbage of every shape.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, crypto};
use proptest::prelude::*;
use proto::app::Secret;
use proto::token::jwks::{JwksError, JwksSource};
use proto::token::key::Algorithm::{self, *};
use proto::token::{
    EXPIRY_LEEWAY_MS, Grant, Key, KeyError, START_LEEWAY_MS, TOKEN_BYTES_MAX, Token, TokenError,
    claimed_app, issue, strip_bearer, verify,
};
use proto::{App, AppId, ChannelName};
use serde_json::{Value, json};

const SECRET: &str = "app-secret";
/// Seconds; the middle of the table's time.
const NOW: u64 = 1_800_000_000;

fn app() -> App {
    App::new(AppId::parse("app-id").unwrap(), "app-key", Secret::new(SECRET))
}

fn app_with(keys: Vec<Key>) -> App {
    App { jwt_keys: keys, ..app() }
}

fn check(text: &str, app: &App) -> Result<Token, TokenError> {
    verify(text, app, &[], NOW * 1000)
}

/// A pair of keys, generated for this run: there is no private key in the repository.
struct Pair {
    private: EncodingKey,
    public_pem: String,
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

fn rsa() -> Pair {
    let pair = RsaPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes());
    Pair { private: private.unwrap(), public_pem: public_pem(pair.public_key()) }
}

fn ec(curve: &'static EcdsaSigningAlgorithm) -> Pair {
    let pair = EcdsaKeyPair::generate(curve).unwrap();
    let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
    Pair { private, public_pem: public_pem(pair.public_key()) }
}

fn ed() -> Pair {
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
    Pair { private, public_pem: public_pem(pair.public_key()) }
}

static RSA: LazyLock<Pair> = LazyLock::new(rsa);
static P256: LazyLock<Pair> = LazyLock::new(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
static P384: LazyLock<Pair> = LazyLock::new(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING));
static ED: LazyLock<Pair> = LazyLock::new(ed);

fn pair_of(algorithm: Algorithm) -> &'static Pair {
    match algorithm {
        RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => &RSA,
        ES256 => &P256,
        ES384 => &P384,
        EdDSA => &ED,
        HS256 | HS384 | HS512 => unreachable!("they have no pair"),
    }
}

const WITH_PAIRS: [Algorithm; 9] = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];

fn key(algorithm: Algorithm) -> Key {
    Key::from_pem(algorithm, &pair_of(algorithm).public_pem).unwrap()
}

/// Signs any header and any claims, right or wrong.
fn sign(private: &EncodingKey, algorithm: Algorithm, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = crypto::sign(message.as_bytes(), private, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn sign_hs(secret: &str, header: &str, claims: &str) -> String {
    sign(&EncodingKey::from_secret(secret.as_bytes()), HS256, header, claims)
}

const HS256_HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn good_claims() -> Value {
    json!({ "sub": "7", "exp": NOW + 60 })
}

/// A token by the app's secret with these claims beside `sub` and `exp`, or instead of them.
fn with(changes: Value) -> String {
    let (Value::Object(mut claims), Value::Object(changes)) = (good_claims(), changes) else {
        unreachable!("both are objects");
    };
    claims.extend(changes);
    let claims = Value::Object(claims);
    sign_hs(SECRET, HS256_HEADER, &claims.to_string())
}

fn without(name: &str) -> String {
    let mut claims = good_claims();
    claims.as_object_mut().unwrap().remove(name);
    sign_hs(SECRET, HS256_HEADER, &claims.to_string())
}

fn with_header(header: &str) -> String {
    sign_hs(SECRET, header, &good_claims().to_string())
}

fn with_raw_claims(claims: &str) -> String {
    sign_hs(SECRET, HS256_HEADER, claims)
}

/// Nothing, or a part of the reason.
type Row = (&'static str, String, Option<&'static str>);

#[track_caller]
fn check_rows(app: &App, rows: &[Row]) {
    for (what, token, expected) in rows {
        match (check(token, app), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => {
                let error = error.to_string();
                assert!(error.contains(part), "{what}: {error:?} does not say {part:?}");
                for secret in token.split('.').filter(|part| part.len() > 8) {
                    assert!(!error.contains(secret), "{what}: {error:?} shows the token");
                }
            }
            (Ok(_), Some(part)) => panic!("{what}: accepted, but expected {part:?}"),
            (Err(error), None) => panic!("{what}: {error}"),
        }
    }
}

fn rows_of_form() -> Vec<Row> {
    let good = with(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { unreachable!() };
    let form = Some("three parts of base64url");
    let head = Some("token's header is not a JSON object");
    let body = Some("claims are not a JSON object");
    let wrong = Some("signature is wrong");
    let long = "x".repeat(TOKEN_BYTES_MAX);
    vec![
        ("good", good.clone(), None),
        ("empty", String::new(), form),
        ("dots", "..".into(), head),
        ("one part", "abc".into(), form),
        ("two parts", format!("{header}.{claims}"), form),
        ("four parts", format!("{good}.x"), form),
        ("five parts, as an encrypted token has", format!("{good}.x.y"), form),
        ("padded", format!("{good}="), form),
        ("space before", format!(" {good}"), form),
        ("line break after", format!("{good}\n"), form),
        ("the other base64", good.replace(signature, &format!("{}+/", &signature[2..])), form),
        ("NUL", format!("{good}\0"), form),
        ("not ASCII", format!("{good}é"), form),
        ("with Bearer", format!("Bearer {good}"), form),
        ("too long", with(json!({ "x": long })), Some("the limit is 8192")),
        ("as long as allowed", with(json!({ "x": "x".repeat(5_000) })), None),
        ("header is text", good.replace(header, "abc"), head),
        ("header is a list", with_header("[]"), head),
        ("header is null", with_header("null"), head),
        ("header has bytes behind it", with_header(r#"{"alg":"HS256"} x"#), head),
        ("claims are a list", with_raw_claims("[]"), body),
        ("claims are text", with_raw_claims("\"a\""), body),
        ("claims are empty", with_raw_claims(""), body),
        ("claims are cut off", with_raw_claims(r#"{"sub":"7","exp":18"#), body),
        (
            "claims nest without end",
            with_raw_claims(&format!(r#"{{"a":{}"#, "[".repeat(4000))),
            body,
        ),
        ("no signature", format!("{header}.{claims}."), wrong),
        ("half a signature", format!("{header}.{claims}.{}", &signature[..20]), wrong),
        ("a signature with more behind it", format!("{good}AAAA"), wrong),
        ("the last bits of the signature changed", loose_bits(&good), wrong),
        ("claims of another token", good.replace(claims, &URL_SAFE_NO_PAD.encode("{}")), wrong),
        ("signed with another secret", sign_hs("other", HS256_HEADER, "{}"), wrong),
        ("signed with nothing", sign_hs("", HS256_HEADER, "{}"), wrong),
        ("signed with the app's key", sign_hs("app-key", HS256_HEADER, "{}"), wrong),
    ]
}

/// The same bytes in another text: the last character of 43 has two bits that mean nothing.
fn loose_bits(token: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let value = ALPHABET.find(last).unwrap();
    format!("{rest}{}", &ALPHABET[value + 1..=value + 1])
}

fn rows_of_headers() -> Vec<Row> {
    let head = Some("token's header is not a JSON object");
    let algorithm = Some("token's `alg` is not one");
    let critical = Some("has `crit`");
    let kind = Some("`typ` must be JWT");
    let h = with_header;
    vec![
        ("no typ", h(r#"{"alg":"HS256"}"#), None),
        ("typ in small letters", h(r#"{"alg":"HS256","typ":"jwt"}"#), None),
        ("typ of an access token", h(r#"{"alg":"HS256","typ":"application/at+JWT"}"#), None),
        ("typ of a logout token", h(r#"{"alg":"HS256","typ":"logout+jwt"}"#), kind),
        ("typ of a proof", h(r#"{"alg":"HS256","typ":"dpop+jwt"}"#), kind),
        ("typ is a number", h(r#"{"alg":"HS256","typ":1}"#), head),
        ("no alg", h(r#"{"typ":"JWT"}"#), head),
        ("alg is null", h(r#"{"alg":null}"#), head),
        ("alg is a list", h(r#"{"alg":["HS256"]}"#), head),
        ("alg twice", h(r#"{"alg":"none","alg":"HS256"}"#), head),
        ("alg twice, once escaped", h(r#"{"alg":"HS256","\u0061lg":"none"}"#), head),
        ("alg in small letters", h(r#"{"alg":"hs256"}"#), algorithm),
        ("alg with a space", h(r#"{"alg":"HS256 "}"#), algorithm),
        ("alg is empty", h(r#"{"alg":""}"#), algorithm),
        ("alg none", h(r#"{"alg":"none"}"#), algorithm),
        ("alg None", h(r#"{"alg":"None"}"#), algorithm),
        ("alg HS512", h(r#"{"alg":"HS512"}"#), algorithm),
        ("alg RS256", h(r#"{"alg":"RS256"}"#), algorithm),
        ("alg ES512, which is nobody's", h(r#"{"alg":"ES512"}"#), algorithm),
        ("crit", h(r#"{"alg":"HS256","crit":["exp"]}"#), critical),
        ("crit is empty", h(r#"{"alg":"HS256","crit":[]}"#), critical),
        ("crit is null", h(r#"{"alg":"HS256","crit":null}"#), critical),
        ("crit with b64", h(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#), critical),
        ("kid of a key without name", h(r#"{"alg":"HS256","kid":"../../dev/null"}"#), None),
        ("kid is a number", h(r#"{"alg":"HS256","kid":7}"#), head),
        ("a key in the header", h(r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#), None),
    ]
}

fn rows_of_times() -> Vec<Row> {
    let leeway = EXPIRY_LEEWAY_MS / 1000;
    let early = START_LEEWAY_MS / 1000;
    let expired = Some("has expired");
    let exp = Some("token's `exp` must be a number of seconds");
    let nbf = Some("token's `nbf` must be a number of seconds");
    let never = Some("`exp` is not after");
    vec![
        ("no exp", without("exp"), Some("has no `exp`")),
        ("exp is past", with(json!({ "exp": NOW - 3600 })), expired),
        ("exp is past by the leeway", with(json!({ "exp": NOW - leeway })), expired),
        ("exp is past by less", with(json!({ "exp": NOW - leeway + 1 })), None),
        ("exp is now", with(json!({ "exp": NOW })), None),
        ("exp is 0", with(json!({ "exp": 0 })), expired),
        ("exp has a fraction", with(json!({ "exp": NOW as f64 + 0.5 })), None),
        ("exp is negative", with(json!({ "exp": -1 })), exp),
        ("exp in milliseconds", with(json!({ "exp": (NOW + 60) * 1000 })), exp),
        ("exp is a text", with(json!({ "exp": (NOW + 60).to_string() })), exp),
        ("exp is null", with(json!({ "exp": null })), exp),
        ("exp is true", with(json!({ "exp": true })), exp),
        ("exp is a list", with(json!({ "exp": [NOW + 60] })), exp),
        ("exp has no end", with_raw_claims(r#"{"sub":"7","exp":1e999}"#), exp),
        ("exp wraps", with_raw_claims(r#"{"sub":"7","exp":18446744073709551616}"#), exp),
        ("exp twice", with_raw_claims(r#"{"sub":"7","exp":1,"exp":1800000060}"#), Some("once")),
        (
            "exp in capitals",
            with_raw_claims(r#"{"sub":"7","EXP":1800000060}"#),
            Some("has no `exp`"),
        ),
        ("nbf is past", with(json!({ "nbf": NOW - 1 })), None),
        ("nbf is now", with(json!({ "nbf": NOW })), None),
        ("nbf within the leeway", with(json!({ "nbf": NOW + early, "exp": NOW + 999 })), None),
        (
            "nbf beyond the leeway",
            with(json!({ "nbf": NOW + early + 1, "exp": NOW + 999 })),
            Some("does not count yet"),
        ),
        ("nbf is a text", with(json!({ "nbf": "0" })), nbf),
        ("nbf is null", with(json!({ "nbf": null })), nbf),
        ("nbf is negative", with(json!({ "nbf": -5 })), nbf),
        ("nbf after exp", with(json!({ "nbf": NOW + 61 })), never),
        ("iat after exp", with(json!({ "iat": NOW + 60 })), never),
        ("nbf is past, iat after exp", with(json!({ "nbf": NOW - 1, "iat": NOW + 60 })), never),
        ("iat is past", with(json!({ "iat": NOW - 99 })), None),
        ("iat is a text", with(json!({ "iat": "yesterday" })), Some("token's `iat` must be")),
    ]
}

fn rows_of_claims() -> Vec<Row> {
    let sub = Some("token's `sub` must be a text");
    let permissions = Some("token's `permissions` must be a list of patterns");
    vec![
        ("no sub", without("sub"), sub),
        ("sub is a number", with(json!({ "sub": 7 })), sub),
        ("sub is null", with(json!({ "sub": null })), sub),
        ("sub is empty", with(json!({ "sub": "" })), Some("user id is empty")),
        ("sub of 128 bytes", with(json!({ "sub": "s".repeat(128) })), None),
        ("sub of 129 bytes", with(json!({ "sub": "s".repeat(129) })), Some("the limit is 128")),
        ("sub twice", with_raw_claims(r#"{"sub":"7","exp":1800000060,"sub":"1"}"#), Some("once")),
        ("a claim of no meaning twice", with_raw_claims(r#"{"a":1,"a":1}"#), Some("once")),
        ("app of this app", with(json!({ "app": "app-key" })), None),
        ("app of another", with(json!({ "app": "other-key" })), Some("is for another app")),
        ("app is the id", with(json!({ "app": "app-id" })), Some("is for another app")),
        ("app is empty", with(json!({ "app": "" })), Some("is for another app")),
        ("app is null", with(json!({ "app": null })), Some("token's `app` must be")),
        ("app is a list", with(json!({ "app": ["app-key"] })), Some("token's `app` must be")),
        ("role of the app", with(json!({ "role": "admin" })), None),
        ("role of nobody", with(json!({ "role": "root" })), Some("not one of this app's")),
        ("role in capitals", with(json!({ "role": "ADMIN" })), Some("not one of this app's")),
        ("role is a list", with(json!({ "role": ["admin"] })), Some("token's `role` must be")),
        ("role is null", with(json!({ "role": null })), Some("token's `role` must be")),
        ("permissions", with(json!({ "permissions": ["public:*", "user:self:ro"] })), None),
        ("no permissions", with(json!({ "permissions": [] })), None),
        ("permissions are a text", with(json!({ "permissions": "*" })), permissions),
        ("permissions are numbers", with(json!({ "permissions": [1] })), permissions),
        ("permissions are null", with(json!({ "permissions": null })), permissions),
        (
            "a pattern with two stars",
            with(json!({ "permissions": ["*a*"] })),
            Some("one `*` at most"),
        ),
        (
            "a pattern of spaces",
            with(json!({ "permissions": ["a b"] })),
            Some("not allowed at byte 1"),
        ),
        (
            "a good pattern and a bad one",
            with(json!({ "permissions": ["a", ""] })),
            Some("is empty"),
        ),
        ("jti", with(json!({ "jti": "1-2-3" })), None),
        ("jti is a number", with(json!({ "jti": 7 })), Some("token's `jti` must be")),
        ("aud that nobody asks for", with(json!({ "aud": ["a", "b"] })), None),
        ("aud is a number", with(json!({ "aud": 7 })), Some("token's `aud` must be")),
        ("iss is a number", with(json!({ "iss": 7 })), Some("token's `iss` must be")),
        ("claims of no meaning", with(json!({ "name": "Zoë", "nested": { "a": [1] } })), None),
    ]
}

#[test]
fn every_rule_has_its_rows() {
    let rows = [rows_of_form(), rows_of_headers(), rows_of_times(), rows_of_claims()];
    let count: usize = rows.iter().map(Vec::len).sum();
    assert!(count >= 80, "{count} rows");
    for rows in rows {
        check_rows(&app(), &rows);
    }
}

#[test]
fn a_token_says_who_and_what_and_until_when() {
    let permissions = ["room".to_owned()];
    let grant = Grant {
        sub: "7",
        exp: NOW + 60,
        app: Some("app-key"),
        role: Some("user"),
        permissions: &permissions,
    };
    let token = check(&issue(&Secret::new(SECRET), &grant), &app()).unwrap();
    assert_eq!((token.user.as_str(), token.role.as_deref()), ("7", Some("user")));
    assert_eq!((token.expires_unix_ms, token.jti), ((NOW + 60) * 1000, None));
    let may = |channel: &str| {
        let channel = ChannelName::parse(channel).unwrap();
        (token.permissions.may_read(&channel), token.permissions.may_publish(&channel))
    };
    assert_eq!(may("room"), (true, true));
    assert_eq!(may("user:7"), (true, true));
    assert_eq!(may("system:notifications"), (true, false));
    assert_eq!(may("user:8"), (false, false));
    assert_eq!(may("other"), (false, false));
    let named = check(&with(json!({ "jti": "1-2" })), &app()).unwrap();
    assert_eq!(named.jti.as_deref(), Some("1-2"));
}

#[test]
fn a_token_without_role_and_permissions_reads_what_anyone_may() {
    let public = ChannelName::parse("chat").unwrap();
    let may = |token: &str| {
        let permissions = check(token, &app()).unwrap().permissions;
        (permissions.may_read(&public), permissions.may_publish(&public))
    };
    assert_eq!(may(&with(json!({}))), (true, false));
    assert_eq!(may(&with(json!({ "permissions": [] }))), (false, false));
    assert_eq!(may(&with(json!({ "role": "guest" }))), (false, false));
}

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

#[test]
fn the_word_bearer_is_taken_off_in_any_case() {
    for (text, expected) in [
        ("Bearer a.b.c", "a.b.c"),
        ("bearer a.b.c", "a.b.c"),
        ("BEARER   a.b.c ", "a.b.c"),
        ("a.b.c", "a.b.c"),
        ("Bearer", "Bearer"),
        ("Basic a", "Basic a"),
        ("Bearera.b.c", "Bearera.b.c"),
        ("", ""),
    ] {
        assert_eq!(strip_bearer(text), expected);
    }
}

#[test]
fn the_app_that_a_token_claims_is_read_without_checking_it() {
    assert_eq!(claimed_app(&with(json!({ "app": "x" }))).as_deref(), Some("x"));
    assert_eq!(claimed_app(&sign_hs("other", "{}", r#"{"app":"y"}"#)).as_deref(), Some("y"));
    for token in [with(json!({})), with(json!({ "app": 7 })), "a.b.c".into(), String::new()] {
        assert_eq!(claimed_app(&token), None);
    }
}

/// Made with PyJWT 2 and its keys: each is an algorithm, a PEM file and a token.
#[test]
fn tokens_of_another_library_are_accepted() {
    let lines: Vec<&str> = include_str!("data/pyjwt.txt").lines().collect();
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

proptest! {
    #[test]
    fn garbage_never_panics(text in ".{0,200}") {
        prop_assert!(check(&text, &app()).is_err());
        let _ = (claimed_app(&text), strip_bearer(&text));
    }

    #[test]
    fn garbage_with_dots_never_panics(text in "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}") {
        prop_assert!(check(&text, &app_with(vec![key(ES256), key(EdDSA)])).is_err());
        let _ = claimed_app(&text);
    }

    #[test]
    fn signed_garbage_never_panics(
        header in prop_oneof![Just(HS256_HEADER.to_owned()), "[ -~]{0,60}"],
        claims in prop_oneof!["[ -~]{0,120}", any_claims()],
    ) {
        let token = sign_hs(SECRET, &header, &claims);
        if let Ok(token) = check(&token, &app()) {
            prop_assert!(token.expires_unix_ms + EXPIRY_LEEWAY_MS > NOW * 1000);
            prop_assert!(!token.user.as_str().is_empty());
        }
        let _ = claimed_app(&token);
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.=-]") {
        let good = with(json!({ "role": "user" }));
        let at = at.index(good.len());
        let changed = format!("{}{byte}{}", &good[..at], &good[at + 1..]);
        prop_assume!(changed != good);
        prop_assert!(check(&changed, &app()).is_err());
    }
}

fn any_claims() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"7\"".to_owned()),
        Just("[\"*\"]".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| json!(number).to_string()),
        Just((NOW + 60).to_string()),
    ];
    let name = prop::sample::select(vec![
        "sub",
        "exp",
        "nbf",
        "iat",
        "jti",
        "app",
        "role",
        "permissions",
        "iss",
        "aud",
    ]);
    prop::collection::vec((name, value), 0..8).prop_map(|members| {
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}
