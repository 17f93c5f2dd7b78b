//! Scripts for the session machine: what a client sends and what comes of it.

mod subscriptions;
mod users;

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;
use crate::app::{Limits, Secret};
use crate::door::Close;
use crate::event::{Data, Event};
use crate::http::signature::sign;
use crate::name::{AppId, UserId};
use crate::pusher::auth;

const SECRET: &str = "secret";

fn app() -> App {
    App::new(AppId::parse("app").unwrap(), "key", Secret::new(SECRET))
}

struct Client {
    session: Session,
    app: App,
    now: Now,
}

impl Client {
    fn new(app: App) -> Self {
        let timing = Timing {
            activity_timeout: Duration::from_secs(120),
            pong_timeout: Duration::from_secs(30),
        };
        let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
        let session = Session::new(SocketId::parse("1.2").unwrap(), timing, None, now);
        Self { session, app, now }
    }

    /// The only place that calls `Session::apply`.
    fn apply(&mut self, input: Input<'_>) -> String {
        let mut actions = Vec::new();
        self.session.apply(input, &self.app, self.now, &mut actions);
        let seen = actions.iter().filter(|action| !matches!(action, Action::Count(_)));
        seen.fold(String::new(), |mut text, action| {
            writeln!(text, "{}", shown(action)).unwrap();
            text
        })
    }

    fn send(&mut self, text: &str) -> String {
        self.apply(Input::Text(text))
    }

    fn subscribe(&mut self, channel: &str, data: Option<&str>) -> String {
        let auth = auth::subscription(("key", &Secret::new(SECRET)), "1.2", channel, data);
        let mut request = serde_json::json!({ "channel": channel, "auth": auth });
        if let Some(data) = data {
            request["channel_data"] = data.into();
        }
        self.send(&serde_json::json!({ "event": "pusher:subscribe", "data": request }).to_string())
    }

    fn sign_in(&mut self, user_data: &str) -> String {
        let signature = sign(SECRET, format!("1.2::user::{user_data}").as_bytes());
        let data =
            serde_json::json!({ "auth": format!("key:{signature}"), "user_data": user_data });
        self.send(&serde_json::json!({ "event": "pusher:signin", "data": data }).to_string())
    }

    fn wait(&mut self, seconds: u64) {
        self.now.moment = self.now.moment + Duration::from_secs(seconds);
    }
}

fn shown(action: &Action) -> String {
    match action {
        Action::Send(text) => text.clone(),
        Action::Ping => "(ping frame)".into(),
        Action::Count(counted) => format!("(count {counted:?})"),
        Action::Close(Close { code, reason }) => format!("(close {code} {reason})"),
        Action::Verify(_)
        | Action::Mark
        | Action::Name(_)
        | Action::Open { .. }
        | Action::For { .. }
        | Action::Leave(_)
        | Action::Authorize { .. } => {
            unreachable!(
                "the protocol has no tokens, one socket, and nothing outlives these sessions"
            )
        }
        Action::Ask { channel, request } => match request {
            Request::Join { role: Role::Subscriber(Some(member)), .. } => {
                let info = member.info.as_deref().unwrap_or("no info");
                format!("(join {channel} as {} {info})", member.user)
            }
            Request::Post(_) | Request::Members | Request::Session(_) => {
                unreachable!("the protocol has no such request")
            }
            Request::Join { role, .. } => format!("(join {channel} {role:?})"),
            Request::Unsubscribe => format!("(unsubscribe {channel})"),
            Request::Publish(event) => {
                format!("(publish {channel} {} {:?})", event.name, event.data)
            }
        },
    }
}

#[track_caller]
#[allow(clippy::needless_pass_by_value)] // `expect!` makes a value.
fn check(client: &mut Client, text: &str, want: Expect) {
    want.assert_eq(&client.send(text));
}

#[test]
fn the_greeting_carries_the_socket_id_and_the_timeout_as_a_string() {
    let mut client = Client::new(app());
    expect![[r#"
        {"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}
    "#]].assert_eq(&client.apply(Input::Opened));
}

#[test]
fn client_events_are_for_subscribers_of_guarded_channels() {
    let mut client = Client::new(app());
    client.subscribe("private-room", None);
    client.subscribe("room", None);
    check(
        &mut client,
        r#"{"event":"client-x","channel":"private-room","data":{"k": 1},"user_id":"forged"}"#,
        expect![[r#"
            (publish private-room client-x Json("{\"k\": 1}"))
        "#]],
    );
    check(
        &mut client,
        r#"{"event":"client-x","channel":"room","data":1}"#,
        expect![[r#"
        {"event":"pusher:error","data":{"code":4301,"message":"client events are for private and presence channels"}}
    "#]],
    );
    check(
        &mut client,
        r#"{"event":"client-x","channel":"private-other","data":1}"#,
        expect![[r#"
        {"event":"pusher:error","data":{"code":4301,"message":"a client event needs a channel that you are subscribed to"}}
    "#]],
    );
    check(
        &mut client,
        r#"{"event":"client-x","data":1}"#,
        expect![[r#"
        {"event":"pusher:error","data":{"code":4301,"message":"a client event needs a `channel`"}}
    "#]],
    );
    check(
        &mut client,
        r#"{"event":"my-client-x","channel":"private-room","data":1}"#,
        expect![[r#"
        {"event":"pusher:error","data":{"code":4300,"message":"clients can send `pusher:` requests and `client-` events"}}
    "#]],
    );
    client.app.client_events = false;
    check(
        &mut client,
        r#"{"event":"client-x","channel":"private-room"}"#,
        expect![[r#"
        {"event":"pusher:error","data":{"code":4301,"message":"client events: not enabled for this app (set `client_events = true`)"}}
    "#]],
    );
}

#[test]
fn client_events_are_limited_in_rate_and_size() {
    let mut client = Client::new(app());
    client.subscribe("private-room", None);
    let event =
        |data: &str| format!(r#"{{"event":"client-x","channel":"private-room","data":"{data}"}}"#);
    assert!(client.send(&event(&"x".repeat(10_239))).contains("4301"));
    let accepted = (0..30).filter(|_| client.send(&event("y")).starts_with("(publish")).count();
    assert_eq!(accepted, 10);
    check(
        &mut client,
        &event("y"),
        expect![[r#"
        {"event":"pusher:error","data":{"code":4301,"message":"client events from this connection: the limit is 10 a second (limit `client_events_per_second`)"}}
    "#]],
    );
    client.wait(1);
    assert!(client.send(&event("y")).starts_with("(publish"));
}

#[test]
fn what_a_client_may_not_say_is_an_error_and_the_connection_stays() {
    let mut client = Client::new(app());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for text in [
        "",
        "null",
        "[]",
        "{",
        "not json",
        "{}",
        r#"{"event":1}"#,
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":"pusher:subscribe","data":{}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":1}}"#,
        r#"{"event":"pusher:subscribe","data":"{"}"#,
        r#"{"event":"pusher:signin","data":{}}"#,
        r#"{"event":"pusher_internal:member_added","channel":"presence-x","data":"{}"}"#,
        r#"{"event":"pusher:connection_established","data":"{}"}"#,
        r#"{"event":"event","channel":"room","data":1}"#,
        &format!(r#"{{"event":"client-x","channel":"private-room","data":{deep}}}"#),
        &deep,
    ] {
        let answer = client.send(text);
        let short = &text[..text.len().min(80)];
        assert!(
            answer.starts_with(r#"{"event":"pusher:error","data":{"code":4300,"#),
            "{short}: {answer}"
        );
        assert_eq!(answer.lines().count(), 1, "{short}: {answer}");
    }
    assert!(client.apply(Input::Binary(&[])).contains("4300"));
    check(
        &mut client,
        r#"{"event":"pusher:ping","data":{}}"#,
        expect![[r#"
        {"event":"pusher:pong","data":{}}
    "#]],
    );
}

#[test]
fn a_flood_of_messages_is_refused_and_not_processed() {
    let mut client = Client::new(app());
    let ping = r#"{"event":"pusher:ping","data":{}}"#;
    let answered = (0..2_000).filter(|_| client.send(ping).contains("pusher:pong")).count();
    assert_eq!(answered, 1_000);
    assert!(client.send(ping).contains("4301"));
}

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    let mut client = Client::new(app());
    client.wait(119);
    assert_eq!(client.apply(Input::Timer), "");
    client.wait(1);
    expect![[r#"
        (ping frame)
        {"event":"pusher:ping","data":{}}
    "#]]
    .assert_eq(&client.apply(Input::Timer));
    client.wait(29);
    client.apply(Input::Alive { is_pong: true });
    client.wait(120);
    expect![[r#"
        (ping frame)
    "#]]
    .assert_eq(&client.apply(Input::Timer));
    client.wait(30);
    expect![[r#"
        (close 4201 the client did not answer a ping in time)
    "#]]
    .assert_eq(&client.apply(Input::Timer));
}
