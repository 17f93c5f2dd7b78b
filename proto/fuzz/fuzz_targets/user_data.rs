//! Any `channel_data` and `user_data`: never a panic, and the limits hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::pusher::auth::{member, user_data};
use proto::{App, AppId};

fuzz_target!(|text: &str| {
    let app = App::new(AppId::parse("a").unwrap(), "k", Secret::new("s"));
    if let Ok(member) = member(&app, text) {
        assert!((1..=128).contains(&member.user.as_str().len()));
        assert!(member.info.is_none_or(|info| info.len() <= 1_024));
    }
    if let Ok(user) = user_data(&app, text) {
        assert!(user.watchlist.len() <= 101);
    }
});
