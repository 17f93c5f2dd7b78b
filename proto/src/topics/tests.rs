//! Scripts for connections with sockets in several namespaces.

use crate::app::{App, Secret};
use crate::authorization::Shown;
use crate::door::{Action, Input, Proof, Request, Signal};
use crate::name::{AppId, ChannelName, SocketId};
use crate::time::{Moment, Now};
use crate::token::{Grant, issue, verify};
use crate::visitor::Visitor;

use super::*;

const UNIX_MS: u64 = 1_800_000_000_000;

fn at(seconds: u64) -> Now {
    let unix_ms = UNIX_MS + seconds * 1000;
    Now { moment: Moment::from_micros(seconds * 1_000_000), unix_ms }
}

fn app() -> App {
    let app = App::new(AppId::parse("a").unwrap(), "key", Secret::new("secret"));
    let namespaces = serde_json::from_str(r#"{"/admin":"topics","/shop":"topics"}"#).unwrap();
    App { namespaces, ..app }
}

/// Someone whose token ends after so many seconds.
fn visitor(sub: &str, seconds: u64) -> Visitor {
    let exp = UNIX_MS / 1000 + seconds;
    let permissions = ["*".to_owned()];
    let grant = Grant { sub, exp, app: None, role: None, permissions: &permissions };
    let token = issue(&Secret::new("secret"), &grant);
    Visitor::with(verify(&token, &app(), &[], UNIX_MS).unwrap())
}

struct Script {
    app: App,
    session: Session,
}

impl Script {
    fn new() -> Self {
        let app = app();
        let identity = Identity { id: "id".into(), secret: "5ec7e7".into() };
        let session = Session::new(identity, Shown::default(), &app, at(0));
        Self { app, session }
    }

    fn happens(&mut self, to: Option<SocketId>, input: Input<'_>, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        self.session.apply((to, input), &self.app, now, &mut actions);
        actions
    }

    fn hears(&mut self, text: &str) -> Vec<Action> {
        self.happens(None, Input::Text(text), at(1))
    }

    /// Connects to a namespace as somebody, and returns its further socket.
    fn connect(&mut self, namespace: &str, user: &str, seconds: u64) -> Option<SocketId> {
        let actions = self.hears(&format!(r#"0{namespace}{{"token":"{user}"}}"#));
        let proof = Proof::Token(user.into());
        let socket = match actions.as_slice() {
            [Action::Verify(shown)] if *shown == proof => None,
            [Action::Open { seat, proof: shown }] if *shown == proof => {
                assert_eq!(format!("{},", seat.namespace), namespace);
                Some(seat.socket)
            }
            other => panic!("{other:?}"),
        };
        let verified = Input::Verified(Ok(visitor(user, seconds)));
        let actions = self.happens(socket, verified, at(1));
        let welcome = said(&actions).join(" ");
        assert!(welcome.contains("connected") && welcome.contains(user), "{welcome}");
        socket
    }
}

/// The texts that are sent, without what a client's own ids are in them.
fn said(actions: &[Action]) -> Vec<&str> {
    let texts = actions.iter().filter_map(|action| match action {
        Action::Send(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// What is asked of channels, and by which further socket.
fn asked(actions: &[Action]) -> Vec<(Option<SocketId>, &ChannelName, &Request)> {
    let asked = actions.iter().filter_map(|action| {
        let (by, action) = match action {
            Action::For { socket, action } => (Some(*socket), &**action),
            action => (None, action),
        };
        match action {
            Action::Ask { channel, request } => Some((by, channel, request)),
            _ => None,
        }
    });
    asked.collect()
}

#[test]
fn each_namespace_has_a_user_and_channels_of_its_own() {
    let mut script = Script::new();
    let main = script.connect("", "ann", 60);
    let admin = script.connect("/admin,", "bob", 60);
    let shop = script.connect("/shop,", "ann", 60);
    assert_eq!(main, None);
    assert!(admin.is_some() && shop.is_some() && admin != shop);
    for (namespace, socket) in [("", main), ("/admin,", admin), ("/shop,", shop)] {
        let actions = script.hears(&format!(r#"2{namespace}7["subscribe",{{"topic":"room"}}]"#));
        let [(by, channel, Request::Join { .. })] = asked(&actions)[..] else {
            panic!("{actions:?}");
        };
        assert_eq!((by, channel.as_str()), (socket, "room"));
        let welcomed =
            Signal::Welcomed { channel: channel.clone(), subscribers: 3, is_whole: None };
        let actions = script.happens(socket, Input::Signal(welcomed), at(1));
        let answer = format!(r#"3{namespace}7[{{"status":"success","subscriberCount":3}}]"#);
        assert_eq!(said(&actions), [answer]);
    }
}

#[test]
fn a_namespace_that_is_left_takes_its_subscriber_with_it_and_no_other() {
    let mut script = Script::new();
    script.connect("", "ann", 60);
    let admin = script.connect("/admin,", "bob", 60).unwrap();
    script.hears(r#"2["subscribe",{"topic":"room"}]"#);
    script.hears(r#"2/admin,["subscribe",{"topic":"room"}]"#);
    assert_eq!(script.hears("1/admin,"), [Action::Leave(admin)]);
    let late = Signal::Welcomed {
        channel: ChannelName::parse("room").unwrap(),
        subscribers: 1,
        is_whole: None,
    };
    assert_eq!(script.happens(Some(admin), Input::Signal(late), at(1)), []);
    let again = script.connect("/admin,", "bob", 60).unwrap();
    assert_ne!(again, admin, "what is still on its way to the last one is not for this one");
    let actions = script.hears("1");
    let [(None, channel, Request::Unsubscribe)] = asked(&actions)[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(channel.as_str(), "room");
}

#[test]
fn a_token_that_ends_ends_its_namespace_and_the_last_one_the_connection() {
    let mut script = Script::new();
    script.connect("", "ann", 60);
    let admin = script.connect("/admin,", "bob", 10).unwrap();
    let end = script.session.deadline();
    let now = at(end.micros() / 1_000_000);
    let actions = script.happens(None, Input::Timer, now);
    assert_eq!(actions, [Action::Send("1/admin,".into()), Action::Leave(admin)]);
    // The other goes on.
    let actions = script.happens(None, Input::Text(r#"2["subscribe",{"topic":"room"}]"#), now);
    assert_eq!(asked(&actions).len(), 1);
    let actions = script.happens(None, Input::Timer, at(62));
    assert_eq!(said(&actions), ["1"]);
    let actions = script.happens(None, Input::Timer, at(70));
    assert!(matches!(actions[..], [Action::Close(_)]), "{actions:?}");
}

#[test]
fn the_application_ends_one_user_and_not_the_other() {
    let mut script = Script::new();
    script.connect("", "ann", 60);
    let admin = script.connect("/admin,", "bob", 60);
    let actions = script.happens(admin, Input::Signal(Signal::Terminated), at(2));
    assert_eq!(said(&actions), ["1/admin,"]);
    let actions = script.happens(None, Input::Signal(Signal::Terminated), at(2));
    assert_eq!(said(&actions), ["1"]);
}

#[test]
fn who_is_turned_down_in_one_namespace_is_in_the_other_still() {
    let mut script = Script::new();
    script.connect("", "ann", 60);
    let actions = script.hears(r#"0/admin,{"token":"x"}"#);
    let [Action::Open { seat, .. }] = &actions[..] else { panic!("{actions:?}") };
    let refused = Input::Verified(Err("no".into()));
    let actions = script.happens(Some(seat.socket), refused, at(1));
    let message = r#"4/admin,{"message":"Authentication failed: no"}"#;
    assert_eq!(actions, [Action::Send(message.into()), Action::Leave(seat.socket)]);
    assert_eq!(said(&script.hears("0/other,")), [r#"4/other,{"message":"Invalid namespace"}"#]);
    let nothing = script.hears(r#"2["heartbeat",{"timestamp":1}]"#);
    assert_eq!(said(&nothing), [r#"2["heartbeat_ack",{"timestamp":1}]"#]);
}

/// CVE-2024-38355, socket.io before 4.6.2: an event `error` that nobody listened to killed the process.
#[test]
fn an_event_that_means_something_to_servers_is_one_that_is_not_known() {
    let mut script = Script::new();
    script.connect("", "ann", 60);
    for name in ["error", "connection", "disconnection", "newListener2", "__proto__", "constructor"]
    {
        let actions = script.hears(&format!(r#"2["{name}",{{}}]"#));
        let said = said(&actions);
        assert!(said[0].starts_with(r#"2["error",{"code":"invalid_message""#), "{name}: {said:?}");
        assert_eq!(actions.len(), 1, "{name}");
    }
}

#[test]
fn who_comes_back_comes_back_to_its_own_namespace_only() {
    let mut script = Script::new();
    let admin = script.connect("/admin,", "ann", 60);
    let mut other = Script::new();
    let pid = |namespace: &str| {
        let mut script = Script::new();
        script.hears(&format!("0{namespace}{{\"token\":\"ann\"}}"));
        let to = if namespace.is_empty() { None } else { admin };
        let actions = script.happens(to, Input::Verified(Ok(visitor("ann", 60))), at(1));
        let greeting = said(&actions)[0].to_owned();
        greeting.split("\"pid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let comes_back = |script: &mut Script, pid: &str| {
        let auth = format!(r#"{{"token":"t","pid":"{pid}","offset":"room~1-1-1"}}"#);
        script.hears(&format!("0/admin,{auth}"));
        let actions = script.happens(admin, Input::Verified(Ok(visitor("ann", 60))), at(1));
        asked(&actions).iter().any(|(_, channel, request)| {
            channel.as_str() == "room" && matches!(request, Request::Join { since: Some(_), .. })
        })
    };
    assert!(!comes_back(&mut other, &pid("")), "it was of another namespace");
    let mut same = Script::new();
    assert!(comes_back(&mut same, &pid("/admin,")));
}

/// The id of a socket is no secret: whoever knows one cannot make its own connection go by it.
#[test]
fn nobody_comes_back_under_an_id_that_was_not_its_own() {
    let mut script = Script::new();
    for pid in ["id", "id.", "id.5ec7e7.0", &format!("id.{}", "0".repeat(64))] {
        script.hears(&format!(r#"0{{"token":"t","pid":"{pid}","offset":"room~1-1-1"}}"#));
        let actions = script.happens(None, Input::Verified(Ok(visitor("ann", 60))), at(1));
        assert!(
            !asked(&actions).iter().any(|(_, channel, _)| channel.as_str() == "room"),
            "{pid}: {actions:?}"
        );
        script.hears("1");
    }
}
