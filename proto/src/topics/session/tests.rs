//! What a Socket.IO client asks for and what it is answered.

use super::*;
use crate::app::Secret;
use crate::channel::{Published, Reply};
use crate::door::Action as Wanted;
use crate::name::{AppId, ChannelName};
use crate::permission::Permissions;
use crate::token::Token;
use crate::visitor::Visitor;

/// A client that was let in, with every permission.
struct Client {
    session: Session,
    app: App,
    now: Now,
}

impl Client {
    fn new() -> Self {
        let app = App::new(AppId::parse("app").unwrap(), "key", Secret::new("secret"));
        let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
        let identity = Identity { id: "id".into(), secret: "5ec7e7".into() };
        let session = Session::new(identity, Shown::default(), &app, now);
        let mut client = Self { session, app, now };
        client.apply(door::Input::Text(r#"0{"token":"jwt"}"#));
        client.apply(door::Input::Verified(Ok(visitor())));
        client
    }

    /// The only place that calls `Session::apply`.
    fn apply(&mut self, input: door::Input<'_>) -> Vec<Wanted> {
        let mut actions = Vec::new();
        self.session.apply((None, input), &self.app, self.now, &mut actions);
        actions
    }

    /// Emits an event that wants an acknowledgement, and returns what is asked of its channel.
    fn ask(&mut self, number: u64, event: &str, message: &str) -> (ChannelName, Request) {
        let text = format!(r#"2{number}["{event}",{message}]"#);
        match self.apply(door::Input::Text(&text)).pop() {
            Some(Wanted::Ask { channel, request }) => (channel, request),
            other => panic!("asks for nothing: {other:?}"),
        }
    }

    fn said(&mut self, input: door::Input<'_>) -> Vec<String> {
        let said = self.apply(input).into_iter().map(|action| match action {
            Wanted::Send(text) => text,
            other => panic!("says nothing: {other:?}"),
        });
        said.collect()
    }

    fn welcomed(&mut self, channel: &ChannelName, subscribers: usize) -> Vec<String> {
        let channel = channel.clone();
        let welcomed = Signal::Welcomed { channel, subscribers, is_whole: None };
        self.said(door::Input::Signal(welcomed))
    }
}

/// A user who may do everything.
fn visitor() -> Visitor {
    let user = UserId::parse("ann").unwrap();
    let permissions = Permissions::new(user.clone(), vec!["*".parse().unwrap()]);
    let (role, jti, expires_unix_ms) = (None, None, u64::MAX / 2_000);
    Visitor::with(Token { user, role, permissions, expires_unix_ms, jti })
}

const UNAVAILABLE: &str = r#"[{"status":"error","error":"unavailable","#;

#[test]
fn a_repeated_subscribe_that_no_owner_answers_is_an_error_and_the_client_stays() {
    let mut client = Client::new();
    let (channel, _) = client.ask(1, "subscribe", r#"{"topic":"public:chat"}"#);
    client.welcomed(&channel, 3);

    let (channel, request) = client.ask(2, "subscribe", r#"{"topic":"public:chat"}"#);
    let refusal = Refusal::Unavailable;
    let said = client.said(door::Input::Moot { channel, request, refusal });
    assert!(matches!(&said[..], [ack] if ack.starts_with(&format!("32{UNAVAILABLE}"))), "{said:?}");

    let (_, request) = client.ask(3, "unsubscribe", r#"{"topic":"public:chat"}"#);
    assert_eq!(request, Request::Unsubscribe, "it is in still");
}

#[test]
fn each_of_two_subscribes_has_its_own_answer() {
    let mut client = Client::new();
    let (channel, request) = client.ask(1, "subscribe", r#"{"topic":"public:chat"}"#);
    client.ask(2, "subscribe", r#"{"topic":"public:chat"}"#);
    let refusal = Refusal::Unavailable;
    let moot = door::Input::Moot { channel: channel.clone(), request, refusal };
    let said = client.said(moot);
    assert!(matches!(&said[..], [ack] if ack.starts_with(&format!("31{UNAVAILABLE}"))), "{said:?}");
    let said = client.welcomed(&channel, 1);
    assert_eq!(said, [r#"32[{"status":"success","subscriberCount":1}]"#]);
}

#[test]
fn a_subscribe_that_is_refused_is_answered_and_leaves_the_client_out() {
    let mut client = Client::new();
    let (channel, request) = client.ask(1, "subscribe", r#"{"topic":"public:chat"}"#);
    let (_, publish) = client.ask(2, "publish", r#"{"topic":"public:chat","payload":1}"#);
    let refusal = Refusal::Unavailable;
    let refused = door::Input::Refused { channel: channel.clone(), request, refusal };
    let said = client.said(refused);
    assert!(matches!(&said[..], [ack] if ack.starts_with(&format!("31{UNAVAILABLE}"))), "{said:?}");

    let reply = Reply::Published(Published { subscribers: 0, ..Published::default() });
    let said = client.said(door::Input::Answered { channel, request: publish, reply });
    assert_eq!(said, [r#"32[{"status":"success","deliveredTo":0}]"#]);
    let said = client.said(door::Input::Text(r#"23["unsubscribe",{"topic":"public:chat"}]"#));
    assert!(said[0].contains("you are not subscribed to this topic"), "{said:?}");
}
