//! Any messages to a session of the plain WebSocket door, and any answers of channels: it never panics,
//! what it sends is a JSON object with a type, it asks for nothing that its token does not allow, and it
//! closes at most once for what a client says.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::channel::Reply;
use proto::door::{Action, Input, Request};
use proto::plain::Session;
use proto::pusher::Timing;
use proto::token::{Grant, issue, verify};
use proto::visitor::Visitor;
use proto::{App, AppId, Moment, Now, Refusal};

const UNIX_MS: u64 = 1_800_000_000_000;

fuzz_target!(|input: (Vec<&str>, Vec<(&str, bool)>)| {
    let (patterns, messages) = input;
    let secret = Secret::new("secret");
    let app = App::new(AppId::parse("a").unwrap(), "key", secret.clone());
    let permissions: Vec<String> = patterns.into_iter().map(str::to_owned).collect();
    let exp = UNIX_MS / 1000 + 60;
    let grant = Grant { sub: "7", exp, app: None, role: None, permissions: &permissions };
    let Ok(token) = verify(&issue(&secret, &grant), &app, &[], UNIX_MS) else { return };
    let allowed = token.permissions.clone();
    let timing = Timing {
        activity_timeout: Duration::from_secs(120),
        pong_timeout: Duration::from_secs(30),
    };
    let now = Now { moment: Moment::from_micros(1), unix_ms: UNIX_MS };
    let mut session = Session::new(Visitor::with(token), timing, now);
    for (text, is_granted) in messages {
        let mut actions = Vec::new();
        session.apply(Input::Text(text), &app, now, &mut actions);
        let mut answers = Vec::new();
        for action in &actions {
            if let Action::Ask { channel, request } = action {
                match request {
                    Request::Join { .. } | Request::Members => assert!(allowed.may_read(channel)),
                    Request::Post(_) => assert!(allowed.may_publish(channel)),
                    Request::Unsubscribe => {}
                    Request::Publish(_) => unreachable!("this door has no client events"),
                    Request::Session(_) => unreachable!("nothing of it outlives the connection"),
                }
                let (channel, request) = (channel.clone(), request.clone());
                let input = match is_granted {
                    true => Input::Answered { channel, request, reply: Reply::Done },
                    false => Input::Refused { channel, request, refusal: Refusal::Unavailable },
                };
                session.apply(input, &app, now, &mut answers);
            }
        }
        assert!(!actions.iter().any(|action| matches!(action, Action::Close(_))), "{text}");
        for action in actions.iter().chain(&answers) {
            if let Action::Send(said) = action {
                let said: serde_json::Value = serde_json::from_str(said).expect(said);
                assert!(said["type"].is_string(), "{said}");
            }
        }
    }
});
