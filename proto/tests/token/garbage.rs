//! Texts that are no tokens, of every shape.

use proptest::prelude::*;

use super::*;
use proto::token::{EXPIRY_LEEWAY_MS, claimed_app, strip_bearer};

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
