//! Any text as a token and as a pattern, and tokens that are signed and say anything: what is
//! accepted says what was asked for, and grants nobody else's events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::permission::Pattern;
use proto::token::{Grant, claimed_app, issue, strip_bearer, verify};
use proto::{App, AppId, ChannelName};

fuzz_target!(|input: (&str, u32, Option<&str>, Vec<String>)| {
    let (text, exp, role, permissions) = input;
    let secret = Secret::new("secret");
    let app = App::new(AppId::parse("a").unwrap(), "key", secret.clone());
    let unix_ms = 1_800_000_000_000;
    assert!(verify(strip_bearer(text), &app, &[], unix_ms).is_err());
    let _ = claimed_app(text);
    if let Ok(pattern) = text.parse::<Pattern>() {
        assert_eq!(pattern.to_string(), text);
    }
    let exp = u64::from(exp);
    let grant = Grant { sub: text, exp, app: None, role, permissions: &permissions };
    if let Ok(token) = verify(&issue(&secret, &grant), &app, &[], unix_ms) {
        assert_eq!(token.user.as_str(), text);
        assert!(exp * 1000 + 5_000 > unix_ms);
        let [own, other] = [text, "other"].map(|id| format!("#server-to-user-{id}"));
        let may_read = |name: &str| token.permissions.may_read(&ChannelName::parse(name).unwrap());
        assert!(may_read(&own));
        assert_eq!(may_read(&other), text == "other");
    }
});
