//! Any bytes as what an application answers about a visitor: it never panics, and whoever is let in has an
//! end, and reads nobody else's events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::authorization::{Question, Shown, read};
use proto::{App, AppId};

const UNIX_MS: u64 = 1_800_000_000_000;

fuzz_target!(|input: (u16, &[u8], &str)| {
    let (status, body, door) = input;
    let app = App::new(AppId::parse("a").unwrap(), "key", Secret::new("secret"));
    if let Ok(Ok(visitor)) = read((status, body), &app, UNIX_MS) {
        assert_eq!(status, 200);
        assert_eq!(visitor.user().is_some(), visitor.expires_unix_ms().is_some());
        let is_own = visitor.user().is_some_and(|user| user.as_str() == "other");
        assert_eq!(visitor.subscribe(&app, "#server-to-user-other").is_ok(), is_own);
        assert!(visitor.user().is_some() || visitor.publish(&app, "public:a").is_err());
    }
    let shown = Shown::default();
    let backend = proto::authorization::Backend {
        url: String::new(),
        allow_private_address: false,
        timeout: std::time::Duration::from_secs(3),
        headers: Vec::new(),
    };
    let question = Question::new((&app, &backend), &shown, door, &[door]);
    let asked: serde_json::Value = serde_json::from_str(question.body()).unwrap();
    assert_eq!((&asked["door"], &asked["channels"][0]), (&door.into(), &door.into()));
});
