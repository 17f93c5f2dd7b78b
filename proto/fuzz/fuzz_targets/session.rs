//! Any messages to a session: it never panics, and what it sends is JSON with an event name.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::door::{Action, Input};
use proto::pusher::{Session, Timing};
use proto::{App, AppId, Moment, Now, SocketId};

fuzz_target!(|messages: Vec<&str>| {
    let app = App::new(AppId::parse("a").unwrap(), "k", Secret::new("s"));
    let timing = Timing {
        activity_timeout: Duration::from_secs(120),
        pong_timeout: Duration::from_secs(30),
    };
    let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
    let mut session = Session::new(SocketId::from_random(1), timing, now);
    let mut actions = Vec::new();
    for text in messages {
        session.apply(Input::Text(text), &app, now, &mut actions);
    }
    for action in actions {
        if let Action::Send(text) = action {
            assert!(text.starts_with("{\"event\":\""), "{text}");
        }
    }
});
