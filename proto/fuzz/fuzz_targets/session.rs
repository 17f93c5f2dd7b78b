//! Any messages to a session, also to one that outlives its connection: it never panics, and what it
//! sends is JSON with an event name.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::channel::{Reply, Summary};
use proto::door::{Action, Input, Request, SessionAsk};
use proto::pusher::{Resumption, Session, Timing};
use proto::{App, AppId, ChannelName, Moment, Now, SocketId};

fuzz_target!(|input: (bool, Vec<&str>)| {
    let (is_resumable, messages) = input;
    let app = App::new(AppId::parse("a").unwrap(), "k", Secret::new("s"));
    let timing = Timing {
        activity_timeout: Duration::from_secs(120),
        pong_timeout: Duration::from_secs(30),
    };
    let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
    let own = ChannelName::of_session("abcdefgh").unwrap();
    let resumption =
        is_resumable.then(|| Resumption::resumable(own, Duration::from_secs(120), now));
    let mut session = Session::new(SocketId::from_random(1), timing, resumption, now);
    let mut actions = Vec::new();
    open(&mut session, &app, now, &mut actions);
    assert_eq!(sent(&actions), 1, "it greets");
    for text in messages {
        session.apply(Input::Text(text), &app, now, &mut actions);
    }
    for action in actions {
        if let Action::Send(text) = action {
            assert!(text.starts_with("{\"event\":\""), "{text}");
        }
    }
});

/// The connection is open, and a session that outlives it is let in.
fn open(session: &mut Session, app: &App, now: Now, actions: &mut Vec<Action>) {
    session.apply(Input::Opened, app, now, actions);
    let mut answered = 0;
    while let Some(Action::Ask { channel, request }) = actions.get(answered).cloned() {
        let reply = match &request {
            Request::Session(SessionAsk::Inspect) => Reply::Channel(Summary::default()),
            _ => Reply::Done,
        };
        session.apply(Input::Answered { channel, request, reply }, app, now, actions);
        answered += 1;
    }
}

fn sent(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Send(_))).count()
}
