//! What a token says of its user.

use super::*;
use proto::ChannelName;
use proto::token::{Grant, claimed_app, issue, strip_bearer};

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
