//! Scripts for the machine of a connection's sockets.

use super::*;
use proptest::prelude::*;

fn terms() -> Terms {
    Terms {
        namespaces: Arc::new(["/".into(), "/custom".into()]),
        connect_timeout: Duration::from_secs(45),
        attachment_bytes: 8,
    }
}

fn at(seconds: u64) -> Now {
    Now { moment: Moment::from_micros(seconds * 1_000_000), unix_ms: 0 }
}

struct Script(Sockets);

impl Script {
    fn opened() -> Self {
        Self(Sockets::new(terms(), at(0)))
    }

    /// A connection with a socket in `/`.
    fn connected() -> Self {
        let mut script = Self::opened();
        script.takes(Input::Text("0"), &[asked("/", "{}")]);
        script.takes(accept("/", "s"), &[sent(r#"0{"sid":"s"}"#)]);
        script
    }

    #[track_caller]
    fn takes(&mut self, input: Input<'_>, expected: &[Action]) {
        let shown = format!("{input:?}");
        let mut actions = Vec::new();
        self.0.apply(input, at(1), &mut actions);
        assert_eq!(actions, expected, "{shown}");
    }

    /// The connection is closed for this, and its one socket with it.
    #[track_caller]
    fn closed_by(mut self, input: Input<'_>, left: &[Action]) {
        let close = Action::Close(Closed::Malformed);
        self.takes(input, &[left, &[close]].concat());
        self.takes(Input::Text("0"), &[]);
    }
}

fn sent(text: &str) -> Action {
    Action::Send(text.to_owned())
}

fn asked(namespace: &str, auth: &str) -> Action {
    Action::Asked { namespace: namespace.into(), auth: auth.to_owned() }
}

fn accept<'a>(namespace: &'a str, sid: &'a str) -> Input<'a> {
    Input::Accept { namespace, socket: Socket { id: sid, private: None } }
}

fn left(namespace: &str) -> Action {
    Action::Left { namespace: namespace.into() }
}

fn event(name: &str, arguments: Arguments, ack: Option<u64>) -> Action {
    Action::Event { namespace: "/".into(), name: name.to_owned(), arguments, ack }
}

#[test]
fn a_client_connects_with_its_auth_and_gets_an_id() {
    let mut script = Script::opened();
    script.takes(Input::Text(r#"0{"token":"x"}"#), &[asked("/", r#"{"token":"x"}"#)]);
    script.takes(accept("/", "s"), &[sent(r#"0{"sid":"s"}"#)]);
    script.takes(Input::Text("0/custom,"), &[asked("/custom", "{}")]);
    script.takes(accept("/custom", "t"), &[sent(r#"0/custom,{"sid":"t"}"#)]);
    script.takes(accept("/custom", "again"), &[]);
}

#[test]
fn a_client_that_is_not_let_in_is_told_why_and_may_try_again() {
    let mut script = Script::opened();
    script.takes(Input::Text("0"), &[asked("/", "{}")]);
    let reject = Input::Reject { namespace: "/", message: "Authentication \"failed\"" };
    script.takes(reject, &[sent(r#"4{"message":"Authentication \"failed\""}"#)]);
    script.takes(Input::Text("0"), &[asked("/", "{}")]);
}

#[test]
fn an_unknown_namespace_is_refused_and_the_connection_stays() {
    let mut script = Script::opened();
    let refused = sent(r#"4/random,{"message":"Invalid namespace"}"#);
    script.takes(Input::Text("0/random"), std::slice::from_ref(&refused));
    script.takes(Input::Text("0/random,{\"a\":1}"), &[refused]);
    script.takes(Input::Text("0"), &[asked("/", "{}")]);
}

#[test]
fn nothing_may_come_before_the_connect() {
    for text in ["1", r#"2["a"]"#, "31[]", r#"4{"message":""}"#, "abc", r#"2/random,["a"]"#] {
        Script::opened().closed_by(Input::Text(text), &[]);
    }
    Script::opened().closed_by(Input::Binary(b"a"), &[]);
    let mut script = Script::opened();
    script.takes(Input::Text("0"), &[asked("/", "{}")]);
    script.closed_by(Input::Text(r#"2["a"]"#), &[left("/")]);
}

#[test]
fn what_is_malformed_or_out_of_place_closes_the_connection() {
    for text in ["abc", "2{}", r#"2abc["a"]"#, "0", r#"2["connect"]"#, r#"4{"message":""}"#] {
        Script::connected().closed_by(Input::Text(text), &[left("/")]);
    }
    let other = r#"2/custom,["a"]"#;
    Script::connected().closed_by(Input::Text(other), &[left("/")]);
}

#[test]
fn events_and_acknowledgements_go_both_ways() {
    let mut script = Script::connected();
    script.takes(Input::Text(r#"2["a",1]"#), &[event("a", Arguments::of("[1]"), None)]);
    script.takes(Input::Text(r#"27["a"]"#), &[event("a", Arguments::of("[]"), Some(7))]);
    let ack = Input::Ack { namespace: "/", id: 7, arguments: Arguments::of("[1]") };
    script.takes(ack, &[sent("37[1]")]);
    let emit = Input::Emit { namespace: "/", name: "b", arguments: Arguments::of("[null]") };
    script.takes(emit, &[sent(r#"2["b",null]"#)]);
    let arguments = Arguments::of("[2]");
    script
        .takes(Input::Text("39[2]"), &[Action::Acked { namespace: "/".into(), id: 9, arguments }]);
}

#[test]
fn a_binary_event_waits_for_its_attachments() {
    let json = r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let arguments = Arguments { json: json.into(), attachments: vec![vec![1, 2], vec![]] };
    let mut script = Script::connected();
    script.takes(Input::Text(&format!("52-[\"a\",{}", &json[1..])), &[]);
    script.takes(Input::Binary(&[1, 2]), &[]);
    script.takes(Input::Binary(&[]), &[event("a", arguments.clone(), None)]);
    let text = sent(&format!("62-7{json}"));
    let parts = [text, Action::SendBinary(vec![1, 2]), Action::SendBinary(vec![])];
    script.takes(Input::Ack { namespace: "/", id: 7, arguments }, &parts);
    script.closed_by(Input::Binary(&[]), &[left("/")]);
}

#[test]
fn attachments_that_are_too_large_or_interrupted_close_the_connection() {
    let text = r#"52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    for second in [Input::Binary(&[0; 4]), Input::Text(r#"2["b"]"#)] {
        let mut script = Script::connected();
        script.takes(Input::Text(text), &[]);
        script.takes(Input::Binary(&[0; 5]), &[]);
        script.closed_by(second, &[left("/")]);
    }
}

#[test]
fn either_side_may_leave_a_namespace() {
    let mut script = Script::connected();
    script.takes(Input::Text("1"), &[left("/")]);
    let emit = || Input::Emit { namespace: "/", name: "b", arguments: Arguments::of("[]") };
    script.takes(emit(), &[]);
    let mut script = Script::connected();
    script.takes(Input::Disconnect { namespace: "/" }, &[sent("1")]);
    script.takes(emit(), &[]);
    script.takes(Input::Disconnect { namespace: "/" }, &[]);
}

#[test]
fn a_lost_connection_leaves_every_namespace() {
    let mut script = Script::connected();
    script.takes(Input::Text("0/custom"), &[asked("/custom", "{}")]);
    script.takes(Input::Lost, &[left("/"), left("/custom")]);
    script.takes(accept("/custom", "late"), &[]);
}

#[test]
fn a_client_that_connects_nowhere_is_closed_in_time() {
    let mut script = Script::opened();
    script.takes(Input::Text("0/random"), &[sent(r#"4/random,{"message":"Invalid namespace"}"#)]);
    script.takes(Input::Text("0"), &[asked("/", "{}")]);
    assert_eq!(script.0.deadline(), Some(at(45).moment));
    script.takes(Input::Timer, &[]);
    let mut actions = Vec::new();
    script.0.apply(Input::Timer, at(45), &mut actions);
    assert_eq!(actions, [left("/"), Action::Close(Closed::ConnectTimeout)]);
    assert_eq!(Script::connected().0.deadline(), None);
}

/// The stock client takes its state for recovered when it is told the private id that it has said.
#[test]
fn a_socket_that_can_come_back_is_told_a_private_id() {
    let mut script = Script::opened();
    script.takes(Input::Text("0"), &[asked("/", "{}")]);
    let socket = Socket { id: "s", private: Some("p") };
    let greeting = sent(r#"0{"sid":"s","pid":"p"}"#);
    script.takes(Input::Accept { namespace: "/", socket }, &[greeting]);
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics_or_grows(
        texts in prop::collection::vec("[0-6]([12]-)?(/custom,|/x,)?[0-9]?(\\[\"a\"\\]|\\{\\})?", 0..40)
    ) {
        let mut sockets = Sockets::new(terms(), at(0));
        let mut actions = Vec::new();
        for text in &texts {
            sockets.apply(Input::Text(text), at(1), &mut actions);
            sockets.apply(accept("/", "s"), at(1), &mut actions);
            prop_assert!(sockets.states.len() <= terms().namespaces.len());
        }
        let closes = actions.iter().filter(|action| matches!(action, Action::Close(_))).count();
        prop_assert!(closes <= 1);
    }
}
