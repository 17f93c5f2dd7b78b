//! Scripts for the session machine: what a client sends and what comes of it.

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
fn public_channels_need_no_auth_and_data_may_be_a_string() {
    let mut client = Client::new(app());
    check(
        &mut client,
        r#"{"event":"pusher:subscribe","data":{"channel":"room","auth":""}}"#,
        expect![[r#"
            (join room Subscriber(None))
        "#]],
    );
    check(
        &mut client,
        r#"{"event":"pusher:subscribe","data":"{\"channel\":\"other\"}"}"#,
        expect![[r#"
            (join other Subscriber(None))
        "#]],
    );
    check(
        &mut client,
        r#"{"event":"pusher:unsubscribe","data":{"channel":"room"}}"#,
        expect![[r#"
        (unsubscribe room)
    "#]],
    );
    check(&mut client, r#"{"event":"pusher:unsubscribe","data":{"channel":"room"}}"#, expect![]);
}

#[test]
fn guarded_channels_are_joined_with_their_signature_only() {
    let mut client = Client::new(app());
    expect![[r#"
        (join private-room Subscriber(None))
    "#]]
    .assert_eq(&client.subscribe("private-room", None));
    expect![[r#"
        (join private-encrypted-room Subscriber(None))
    "#]]
    .assert_eq(&client.subscribe("private-encrypted-room", None));
    expect![[r#"
        (join user:42 Subscriber(None))
    "#]]
    .assert_eq(&client.subscribe("user:42", None));
    expect![[r#"
        (join presence-room as 10 no info)
    "#]]
    .assert_eq(&client.subscribe("presence-room", Some(r#"{"user_id":10}"#)));
    for channel in ["private-x", "presence-x", "private-cache-x", "presence-cache-x", "system:x"] {
        for auth in ["", "key:", "key:00", "other:00", "key", "key:\u{e9}"] {
            let request = serde_json::json!({
                "event": "pusher:subscribe",
                "data": { "channel": channel, "auth": auth, "channel_data": "{\"user_id\":\"u\"}" },
            });
            let answer = client.send(&request.to_string());
            assert!(answer.starts_with(r#"{"event":"pusher:subscription_error""#), "{answer}");
            assert!(answer.contains(r#""type":"AuthError""#) && answer.contains(r#""status":401"#));
        }
    }
}

#[test]
fn a_signature_covers_the_socket_the_channel_and_the_exact_data() {
    let secret = Secret::new(SECRET);
    let data = r#"{"user_id":"u1","user_info":{"a":1}}"#;
    let cases = [
        ("1.2", "presence-b", data),
        ("9.9", "presence-a", data),
        ("1.2", "presence-a", r#"{"user_info":{"a":1},"user_id":"u1"}"#),
        ("1.2", "presence-a", r#"{"user_id":"u1","user_info":{"a":1}} "#),
        ("1.2", "presence-a", r#"{"user_id":"u2","user_info":{"a":1}}"#),
    ];
    for (socket, channel, signed) in cases {
        let auth = auth::subscription(("key", &secret), socket, channel, Some(signed));
        let mut client = Client::new(app());
        let request = serde_json::json!({
            "event": "pusher:subscribe",
            "data": { "channel": "presence-a", "auth": auth, "channel_data": data },
        });
        let answer = client.send(&request.to_string());
        assert!(
            answer.contains("pusher:subscription_error"),
            "{socket} {channel} {signed}: {answer}"
        );
    }
}

#[test]
fn both_secrets_are_good_during_a_rotation_and_only_they() {
    let rotating = |secrets: &[&str]| {
        let secrets = secrets.iter().map(|&secret| Secret::new(secret)).collect();
        let mut client = Client::new(App { secrets, ..app() });
        client.subscribe("private-room", None)
    };
    assert!(rotating(&["new", SECRET]).starts_with("(join"));
    assert!(rotating(&[SECRET, "old"]).starts_with("(join"));
    assert!(rotating(&["new", "old"]).contains("subscription_error"));
}

#[test]
fn names_and_limits_are_refused_with_the_channel_and_the_reason() {
    let mut client = Client::new(App {
        channels: vec!["room*".into()],
        limits: Limits { channels_per_connection: 1, channel_name_bytes: 10, ..Limits::default() },
        ..app()
    });
    let subscribe = |channel: &str| {
        format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#)
    };
    check(
        &mut client,
        &subscribe("room"),
        expect![[r#"
        (join room Subscriber(None))
    "#]],
    );
    check(
        &mut client,
        &subscribe("room2"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"room2","data":{"type":"LimitReached","error":"channels of a connection: the limit is 1 (limit `channels_per_connection`)","status":4100}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("room-too-long"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"room-too-long","data":{"type":"LimitReached","error":"the channel name has 13 bytes, the limit is 10 (limit `channel_name_bytes`)","status":4009}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("ro om"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"ro om","data":{"type":"InvalidRequest","error":"the channel name has a character that is not allowed at byte 2; allowed: A-Z a-z 0-9 _ - = @ , . ; :","status":400}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("hall"),
        expect![[r#"
        {"event":"pusher:subscription_error","channel":"hall","data":{"type":"InvalidRequest","error":"this app has no channels of that name","status":400}}
    "#]],
    );
    check(
        &mut client,
        &subscribe("room"),
        expect![[r#"
        (join room Subscriber(None))
    "#]],
    );
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

#[test]
fn a_signed_in_user_has_a_channel_and_joins_presence_without_channel_data() {
    let mut client = Client::new(app());
    let own = r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-ana"}}"##;
    assert!(client.send(own).contains(r#""type":"AuthError""#));
    expect![[r#"
        {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"ana\",\"user_info\":{\"n\":1}}"}}
        (join #server-to-user-ana SignedIn)
    "#]].assert_eq(&client.sign_in(r#"{"id":"ana","user_info":{"n":1}}"#));
    check(
        &mut client,
        own,
        expect![[r#"
        (join #server-to-user-ana Subscriber(None))
    "#]],
    );
    let other = r##"{"event":"pusher:subscribe","data":{"channel":"#server-to-user-ben"}}"##;
    assert!(client.send(other).contains(r#""type":"AuthError""#));
    expect![[r#"
        (join presence-room as ana {"n":1})
    "#]]
    .assert_eq(&client.subscribe("presence-room", None));
    expect![[r#"
        {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"ana\"}"}}
    "#]]
    .assert_eq(&client.sign_in(r#"{"id":"ana"}"#));
    expect![[r#"
        {"event":"pusher:error","data":{"code":4009,"message":"the connection is signed in as another user"}}
    "#]].assert_eq(&client.sign_in(r#"{"id":"ben"}"#));
    expect![[r#"
        {"event":"pusher:error","data":{"code":4009,"message":"You got disconnected by the app."}}
        (close 4009 You got disconnected by the app.)
    "#]]
    .assert_eq(&client.apply(Input::Signal(Signal::Terminated)));
}

#[test]
fn a_signin_with_a_bad_signature_or_id_is_an_error() {
    let mut client = Client::new(app());
    let forged =
        r#"{"event":"pusher:signin","data":{"auth":"key:00","user_data":"{\"id\":\"ana\"}"}}"#;
    check(
        &mut client,
        forged,
        expect![[r#"
        {"event":"pusher:error","data":{"code":4009,"message":"the signature is wrong: it must cover this socket id, this channel and the same data"}}
    "#]],
    );
    for user_data in [r#"{"id":""}"#, r#"{"id":7}"#, "{}", "null", "x"] {
        let answer = client.sign_in(user_data);
        assert!(answer.starts_with(r#"{"event":"pusher:error","data":{"code":4009"#), "{answer}");
    }
    assert!(client.session.user.is_none());
}

#[test]
fn the_watchlist_is_told_in_one_message_and_then_by_change() {
    let limits = Limits { watchlist_users: 2, ..Limits::default() };
    let mut client = Client::new(App { limits, ..app() });
    expect![[r#"
        {"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"ana\",\"watchlist\":[\"ben\",\"cem\",\"ben\",\"dan\"]}"}}
        (join #server-to-user-ana SignedIn)
        {"event":"pusher:error","data":{"code":4302,"message":"users on a watchlist: the limit is 2 (limit `watchlist_users`)"}}
        (join #server-to-user-ben Watcher)
        (join #server-to-user-cem Watcher)
    "#]].assert_eq(&client.sign_in(r#"{"id":"ana","watchlist":["ben","cem","ben","dan"]}"#));
    let mut watched = |user: &str, is_online| {
        let user = UserId::parse(user).unwrap();
        client.apply(Input::Signal(Signal::Watched { user, is_online }))
    };
    assert_eq!(watched("ben", true), "");
    expect![[r#"
        {"event":"pusher_internal:watchlist_events","data":{"events":[{"name":"online","user_ids":["ben"]},{"name":"offline","user_ids":["cem"]}]}}
    "#]].assert_eq(&watched("cem", false));
    expect![[r#"
        {"event":"pusher_internal:watchlist_events","data":{"events":[{"name":"online","user_ids":["cem"]}]}}
    "#]].assert_eq(&watched("cem", true));
}

#[test]
fn a_refusal_by_the_channel_reaches_the_client_and_makes_room() {
    let mut client = Client::new(app());
    client.subscribe("presence-room", Some(r#"{"user_id":"u"}"#));
    let refused = |request, refusal| Input::Refused {
        channel: ChannelName::parse("presence-room").unwrap(),
        request,
        refusal,
    };
    let join = Request::Join { role: Role::Subscriber(None), since: None };
    expect![[r#"
        {"event":"pusher:subscription_error","channel":"presence-room","data":{"type":"LimitReached","error":"the channel has 100 members, which is its limit (limit `presence_members`)","status":4100}}
    "#]].assert_eq(&client.apply(refused(join, Refusal::PresenceFull { limit: 100 })));
    assert!(client.session.channels.is_empty());
    let name = crate::name::EventName::parse("client-x").unwrap();
    let publish = Request::Publish(Event { name, data: Data::Json("1".into()) });
    expect![[r#"
        {"event":"pusher:error","data":{"code":4303,"message":"the channel's owner did not answer in time; try again"}}
    "#]].assert_eq(&client.apply(refused(publish, Refusal::Unavailable)));
}

#[test]
fn user_info_has_a_limit() {
    let mut client = Client::new(app());
    let data =
        |bytes: usize| format!(r#"{{"user_id":"u","user_info":"{}"}}"#, "x".repeat(bytes - 2));
    assert!(client.subscribe("presence-a", Some(&data(1_024))).starts_with("(join"));
    expect![[r#"
        {"event":"pusher:subscription_error","channel":"presence-b","data":{"type":"LimitReached","error":"user_info has 1025 bytes, the limit is 1024 (limit `presence_member_bytes`)","status":4301}}
    "#]].assert_eq(&client.subscribe("presence-b", Some(&data(1_025))));
}
