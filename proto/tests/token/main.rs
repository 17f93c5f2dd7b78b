//! Tokens, good and bad: every rule in a table, the advisories of others as tests of their own, and
//! garbage of every shape.

mod advisories;
mod claims;
mod garbage;
mod keys;
mod pairs;
mod rows;
mod sets;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, crypto};
use proto::app::Secret;
use proto::token::key::Algorithm::{self, *};
use proto::token::{Key, Token, TokenError, verify};
use proto::{App, AppId};
use serde_json::{Value, json};

use pairs::{WITH_PAIRS, key, pair_of};

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
