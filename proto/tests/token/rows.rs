//! Every rule of a token in a table.

use super::*;
use proto::token::{EXPIRY_LEEWAY_MS, START_LEEWAY_MS, TOKEN_BYTES_MAX};

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
