//! Sessions that outlive their connections: what they ask of the channel that stands for them.

use std::sync::Arc;

use super::*;
use crate::app::{App, Secret};
use crate::door::Input;
use crate::event::{Draft, Publication};
use crate::name::{AppId, RelayId};
use crate::pusher::{Session, Timing};
use crate::refusal::Refusal;

struct Client {
    session: Session,
    app: App,
    now: Now,
}

impl Client {
    /// A connection of a client that keeps an id; it is open, and asks for its session.
    fn new(socket: &str) -> Self {
        let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
        let channel = ChannelName::of_session("r-0123456789abcdef").unwrap();
        let resumption = Resumption::resumable(channel, Duration::from_secs(120), now);
        let timing = Timing {
            activity_timeout: Duration::from_secs(120),
            pong_timeout: Duration::from_secs(30),
        };
        let session = Session::new(SocketId::parse(socket).unwrap(), timing, Some(resumption), now);
        let app = App::new(AppId::parse("app").unwrap(), "key", Secret::new("secret"));
        Self { session, app, now }
    }

    fn apply(&mut self, input: Input<'_>) -> Vec<String> {
        let mut actions = Vec::new();
        self.session.apply(input, &self.app, self.now, &mut actions);
        actions.iter().map(shown).collect()
    }

    fn answer(&mut self, request: Request, reply: Reply) -> Vec<String> {
        let channel = self.session.resumption().unwrap().channel().clone();
        self.apply(Input::Answered { channel, request, reply })
    }

    fn refuse(&mut self, request: Request, refusal: Refusal) -> Vec<String> {
        let channel = self.session.resumption().unwrap().channel().clone();
        self.apply(Input::Refused { channel, request, refusal })
    }

    fn found(&mut self, summary: Summary) -> Vec<String> {
        self.answer(Request::Session(SessionAsk::Inspect), Reply::Channel(summary))
    }

    /// Lets it begin, with what an earlier connection has left.
    fn enter(&mut self, record: Option<&str>) {
        self.apply(Input::Opened);
        assert_eq!(self.found(kept(record)), ["join as SignedIn"]);
        let join = Request::Join { role: Role::SignedIn, since: None };
        assert!(self.answer(join, Reply::Done)[0].contains("connection_established"));
    }

    fn subscribe(&mut self, channel: &str) -> Vec<String> {
        let data = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
        self.apply(Input::Text(&data))
    }

    fn marked(&mut self, number: u32, cursor: &str) {
        let cursor = Cursor::parse(cursor).unwrap();
        assert!(self.apply(Input::Signal(Signal::Marked { number, cursor })).is_empty());
    }

    fn wait(&mut self, millis: u64) -> Vec<String> {
        self.now.moment = self.now.moment + Duration::from_millis(millis);
        self.apply(Input::Timer)
    }
}

fn shown(action: &Action) -> String {
    match action {
        Action::Ask { request: Request::Session(ask), .. } => format!("{ask:?}"),
        Action::Ask { request: Request::Join { role: Role::SignedIn, .. }, .. } => {
            "join as SignedIn".into()
        }
        Action::Ask { channel, request: Request::Join { since, .. } } => {
            let since = since.map(|since| since.to_string());
            format!("join {channel} since {since:?}")
        }
        Action::Send(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn kept(record: Option<&str>) -> Summary {
    let publication = |record| Publication {
        draft: Draft::record(1, record),
        position: Position::default(),
        unix_ms: 0,
        accepted: Moment::default(),
    };
    let cached = record.map(|record| (Arc::new(publication(record)), 100));
    Summary { cached, ..Summary::default() }
}

fn held() -> Summary {
    let node = crate::NodeId::parse("other").unwrap();
    Summary { signed_in: vec![RelayId { node, incarnation: 1 }], ..kept(None) }
}

#[test]
fn the_client_is_greeted_once_its_session_is_its_own() {
    let mut client = Client::new("1.1");
    assert_eq!(client.apply(Input::Opened), ["Inspect"]);
    assert!(client.subscribe("room")[0].contains("not established yet"));
    assert_eq!(client.found(kept(None)), ["join as SignedIn"]);
    let join = Request::Join { role: Role::SignedIn, since: None };
    assert!(client.answer(join, Reply::Done)[0].contains("connection_established"));
    assert_eq!(client.subscribe("room"), ["join room since None"]);
}

#[test]
fn it_goes_on_in_each_channel_where_it_had_proven_to_be() {
    let mut client = Client::new("2.2");
    client.enter(Some("1.1 job:1~7-1-1~room~5-1-1"));
    assert_eq!(client.session.resumption().unwrap().earlier_socket(), SocketId::parse("1.1").ok());
    assert_eq!(client.subscribe("room"), [r#"join room since Some("5-1-1")"#]);
    assert_eq!(client.subscribe("other"), ["join other since None"]);
    // Who leaves and comes again has asked for a new beginning.
    client.apply(Input::Text(r#"{"event":"pusher:unsubscribe","data":{"channel":"room"}}"#));
    assert_eq!(client.subscribe("room"), ["join room since None"]);
}

#[test]
fn what_is_proven_is_kept_and_what_is_not_is_not() {
    let mut client = Client::new("1.1");
    client.enter(None);
    client.subscribe("room");
    client.apply(Input::Signal(Signal::Unproven));
    assert!(client.wait(999).is_empty());
    assert_eq!(client.wait(1), ["Mark"]);
    client.marked(1, "room~5-1-1");
    client.marked(2, "room~9-1-1");
    assert!(client.wait(2_000).is_empty());
    assert_eq!(client.session.resumption().unwrap().record(client_socket()), None);
    client.apply(Input::Proven(1));
    assert_eq!(client.wait(0), [r#"Keep("1.1 room~5-1-1")"#]);
    // A later answer proves all before it, and what is on its way is not sent twice at once.
    client.apply(Input::Proven(2));
    assert!(client.wait(1_000).is_empty());
    client.answer(Request::Session(SessionAsk::Keep(String::new())), Reply::Done);
    assert_eq!(client.wait(1_000), [r#"Keep("1.1 room~9-1-1")"#]);
    // An answer to nothing proves nothing.
    assert!(client.apply(Input::Proven(77)).is_empty());
}

fn client_socket() -> SocketId {
    SocketId::parse("1.1").unwrap()
}

#[test]
fn a_record_is_written_again_before_it_is_forgotten_and_after_a_failure() {
    let mut client = Client::new("1.1");
    client.enter(Some("0.1 room~5-1-1"));
    client.subscribe("room");
    client.marked(1, "room~5-1-1");
    client.apply(Input::Proven(1));
    let record = client.wait(1_000);
    assert_eq!(record, [r#"Keep("1.1 room~5-1-1")"#]);
    let request = Request::Session(SessionAsk::Keep(String::new()));
    client.refuse(request.clone(), Refusal::Unavailable);
    assert_eq!(client.wait(1_000), record);
    client.answer(request, Reply::Done);
    assert!(client.wait(59_000).is_empty());
    assert_eq!(client.wait(1_000), record);
}

#[test]
fn what_the_client_has_not_asked_for_again_is_forgotten() {
    let mut client = Client::new("2.2");
    client.enter(Some("1.1 old~7-1-1~room~5-1-1"));
    client.subscribe("room");
    client.marked(1, "room~5-1-1");
    client.apply(Input::Proven(1));
    assert_eq!(client.wait(1_000), [r#"Keep("2.2 old~7-1-1~room~5-1-1")"#]);
    client.answer(Request::Session(SessionAsk::Keep(String::new())), Reply::Done);
    client.marked(2, "room~6-1-1");
    client.apply(Input::Proven(2));
    assert_eq!(client.wait(30_000), [r#"Keep("2.2 room~6-1-1")"#]);
}

#[test]
fn a_connection_that_shows_that_it_lives_keeps_the_session() {
    let mut holder = Client::new("1.1");
    holder.enter(None);
    assert_eq!(holder.apply(Input::Signal(Signal::Challenged)), ["Mark"]);
    holder.marked(1, "room~1-1-1");
    holder.apply(Input::Proven(1));
    assert!(!holder.wait(1_000).iter().any(|action| action.contains("Close")));

    let mut twin = Client::new("2.2");
    twin.apply(Input::Opened);
    assert_eq!(twin.found(held()), ["Challenge"]);
    twin.answer(Request::Session(SessionAsk::Challenge), Reply::Done);
    assert!(twin.wait(1_499).is_empty());
    assert_eq!(twin.wait(1), ["Inspect"]);
    assert!(twin.found(held())[0].contains("connection_established"));
    assert_eq!(twin.subscribe("room"), ["join room since None"]);
    assert_eq!(twin.session.resumption().unwrap().record(client_socket()), None);
    assert!(twin.apply(Input::Signal(Signal::Unproven)).is_empty());
    assert!(twin.wait(5_000).is_empty());
}

#[test]
fn a_connection_that_does_not_answer_gives_the_session_up() {
    let mut holder = Client::new("1.1");
    holder.enter(None);
    holder.apply(Input::Signal(Signal::Challenged));
    holder.marked(1, "room~1-1-1");
    assert!(holder.wait(999).is_empty());
    assert!(holder.wait(1)[0].contains("4201"));

    let mut next = Client::new("2.2");
    next.apply(Input::Opened);
    next.found(held());
    assert_eq!(next.wait(1_500), ["Inspect"]);
    assert_eq!(next.found(kept(Some("1.1 room~1-1-1"))), ["join as SignedIn"]);
}

#[test]
fn of_two_that_find_a_session_at_once_one_has_it() {
    let record = Some("1.1 room~5-1-1");
    let mut late = Client::new("3.3");
    late.apply(Input::Opened);
    assert_eq!(late.found(kept(record)), ["join as SignedIn"]);
    let is_held = || Refusal::Rule(SESSION_IS_HELD);
    // As the node of the session's channel says it, and as another node hears it.
    for refusal in [is_held(), Refusal::Malformed(is_held().to_string())] {
        assert_eq!(
            late.refuse(Request::Join { role: Role::SignedIn, since: None }, refusal),
            ["Inspect"]
        );
    }
    assert_eq!(late.found(held()), ["Challenge"]);
    assert_eq!(late.wait(1_500), ["Inspect"]);
    assert!(late.found(held())[0].contains("connection_established"));
    // It has nothing of what it had found.
    assert_eq!(late.session.resumption().unwrap().earlier_socket(), None);
    assert_eq!(late.subscribe("room"), ["join room since None"]);
}

#[test]
fn a_challenge_is_answered_also_if_the_relay_was_too_busy() {
    let mut holder = Client::new("1.1");
    holder.enter(None);
    assert_eq!(holder.apply(Input::Signal(Signal::Challenged)), ["Mark"]);
    assert!(holder.wait(199).is_empty());
    assert_eq!(holder.wait(1), ["Mark"]);
    holder.marked(1, "room~1-1-1");
    assert!(holder.wait(500).is_empty());
    holder.apply(Input::Proven(1));
    assert!(!holder.wait(1_000).iter().any(|action| action.contains("Close")));
}

#[test]
fn a_client_that_is_slow_to_answer_proves_what_it_was_asked_first() {
    let mut client = Client::new("1.1");
    client.enter(None);
    client.subscribe("room");
    for number in 1..=20 {
        client.marked(number, &format!("room~{number}-1-1"));
    }
    // What was left out is asked for again, once there is room.
    assert!(client.wait(1_000).is_empty());
    client.apply(Input::Proven(1));
    assert_eq!(client.wait(0), [r#"Keep("1.1 room~1-1-1")"#]);
    client.answer(Request::Session(SessionAsk::Keep(String::new())), Reply::Done);
    assert_eq!(client.wait(1_000), ["Mark"]);
    client.marked(21, "room~20-1-1");
    client.apply(Input::Proven(21));
    assert_eq!(client.wait(0), [r#"Keep("1.1 room~20-1-1")"#]);
}

#[test]
fn a_session_that_cannot_be_reached_is_no_session() {
    let mut client = Client::new("1.1");
    client.apply(Input::Opened);
    for request in
        [Request::Session(SessionAsk::Inspect), Request::Join { role: Role::SignedIn, since: None }]
    {
        assert!(client.refuse(request, Refusal::Unavailable)[0].contains("4100"));
    }
}

#[test]
fn where_a_channel_begins_is_kept_before_anything_of_it_is_proven() {
    let mut client = Client::new("1.1");
    client.enter(None);
    for channel in ["one", "two"] {
        client.subscribe(channel);
        let channel = ChannelName::parse(channel).unwrap();
        let position = "4-1-1".parse().unwrap();
        client.apply(Input::Signal(Signal::Entered { channel, position }));
    }
    assert_eq!(client.wait(0), [r#"Keep("1.1 one~4-1-1~two~4-1-1")"#]);
    client.answer(Request::Session(SessionAsk::Keep(String::new())), Reply::Done);
    let channel = ChannelName::parse("three").unwrap();
    client.apply(Input::Signal(Signal::Entered { channel, position: "1-1-1".parse().unwrap() }));
    assert!(client.wait(99).is_empty());
    assert_eq!(client.wait(1), [r#"Keep("1.1 one~4-1-1~three~1-1-1~two~4-1-1")"#]);
    // What it has proven already stays.
    let channel = ChannelName::parse("one").unwrap();
    client.apply(Input::Signal(Signal::Entered { channel, position: "9-1-1".parse().unwrap() }));
    assert!(
        client.session.resumption().unwrap().record(client_socket()).unwrap().contains("one~4")
    );
}
