//! What a client of Laravel Echo asks for, and which of the application's answers count.

use std::time::Duration;

use crate::app::{App, Secret};
use crate::authorization::{Backend, Shown};
use crate::door::{Action, Input, Request, Signal};
use crate::name::{AppId, ChannelName, SocketId};
use crate::refusal::Refusal;
use crate::time::{Moment, Now};
use crate::topics::{Identity, Session};
use crate::visitor::Visitor;

/// A question to the application: about which channel, and its number.
type Question = (ChannelName, u64);

/// A client that was let in.
struct Client {
    session: Session,
    app: App,
    socket: Option<SocketId>,
}

impl Client {
    fn new() -> Self {
        let app = App::new(AppId::parse("app").unwrap(), "key", Secret::new("secret"));
        let namespaces = serde_json::from_str(r#"{"/":"laravel-echo"}"#).unwrap();
        let backend = Backend {
            url: "https://app.example/broadcasting/auth".into(),
            allow_private_address: false,
            timeout: Duration::from_secs(3),
            headers: Vec::new(),
        };
        let app = App { namespaces, laravel_echo: Some(backend), ..app };
        let identity = Identity { id: "id".into(), secret: "5ec7e7".into() };
        let session = Session::new(identity, Shown::default(), &app, now());
        let mut client = Self { session, app, socket: None };
        let actions = client.apply(Input::Text("0"));
        let [Action::Open { seat, .. }] = &actions[..] else { panic!("{actions:?}") };
        client.socket = Some(seat.socket);
        client.apply(Input::Verified(Ok(Visitor::anyone())));
        client
    }

    fn apply(&mut self, input: Input<'_>) -> Vec<Action> {
        let to = self.socket.filter(|_| !matches!(input, Input::Text(_)));
        let mut actions = Vec::new();
        self.session.apply((to, input), &self.app, now(), &mut actions);
        let unwrapped = actions.into_iter().map(|action| match action {
            Action::For { action, .. } => *action,
            action => action,
        });
        unwrapped.collect()
    }

    fn leave(&mut self, channel: &str) {
        let said = format!(r#"2["unsubscribe",{{"channel":"{channel}"}}]"#);
        assert_eq!(self.apply(Input::Text(&said)), []);
    }

    /// Asks to be let in, which the application is asked about.
    fn subscribe(&mut self, channel: &str) -> Question {
        let said = format!(r#"2["subscribe",{{"channel":"{channel}"}}]"#);
        match self.apply(Input::Text(&said)).pop() {
            Some(Action::Authorize { channel, number, .. }) => (channel, number),
            other => panic!("the application is not asked: {other:?}"),
        }
    }

    fn answer(
        &mut self,
        (channel, number): Question,
        answer: Result<&str, Refusal>,
    ) -> Vec<Action> {
        let answer = answer.map(|body| body.as_bytes().to_vec());
        self.apply(Input::Authorized { channel, number, answer })
    }
}

fn now() -> Now {
    Now { moment: Moment::from_micros(1), unix_ms: 0 }
}

fn is_join(actions: &[Action]) -> bool {
    matches!(actions, [Action::Ask { request: Request::Join { .. }, .. }])
}

#[test]
fn an_answer_lets_in_who_asked() {
    let mut client = Client::new();
    let question = client.subscribe("private-room");
    assert!(is_join(&client.answer(question.clone(), Ok("true"))));
    assert_eq!(client.answer(question, Ok("true")), [], "it counts once");
}

#[test]
fn a_late_answer_to_an_earlier_question_does_not_count() {
    let mut client = Client::new();
    let first = client.subscribe("private-room");
    client.leave("private-room");
    assert_eq!(client.answer(first.clone(), Ok("true")), [], "the client has left");
    let second = client.subscribe("private-room");
    assert_eq!(client.answer(first.clone(), Ok("true")), []);
    let refused = client.answer(second, Err(Refusal::Unauthorized("the application said no")));
    assert!(matches!(&refused[..], [Action::Send(said)] if said.contains("403")), "{refused:?}");
    assert_eq!(client.answer(first, Ok("true")), []);
}

#[test]
fn of_two_questions_about_one_channel_the_later_counts() {
    let mut client = Client::new();
    let (first, second) = (client.subscribe("private-room"), client.subscribe("private-room"));
    assert_eq!(client.answer(first, Err(Refusal::Unavailable)), []);
    assert!(is_join(&client.answer(second, Ok("true"))));
}

#[test]
fn the_application_ends_a_client() {
    let mut client = Client::new();
    let ended = client.apply(Input::Signal(Signal::Terminated));
    assert!(matches!(&ended[..], [Action::Send(said), ..] if said.starts_with('1')), "{ended:?}");
}
