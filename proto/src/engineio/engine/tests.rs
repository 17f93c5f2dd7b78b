//! Scripts for the session machine: what comes in, and what it wants done.

use std::time::Duration;

use super::*;
use proptest::prelude::*;

struct Script {
    engine: Engine,
    at: u64,
}

fn at(millis: u64) -> Now {
    Now { moment: Moment::from_micros(millis * 1000), unix_ms: 0 }
}

fn timing() -> Timing {
    Timing {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        ..Timing::default()
    }
}

impl Script {
    fn polling() -> Self {
        Self { engine: Engine::polling(timing(), at(0)), at: 0 }
    }

    fn websocket() -> Self {
        Self { engine: Engine::websocket(timing(), at(0)), at: 0 }
    }

    /// A session that is on its way to a WebSocket, up to `3probe`.
    fn probed() -> Self {
        let mut script = Self::polling();
        script.takes(Input::Socket, &[]);
        let answer = Action::SendProbe(Packet::Pong("probe"));
        script.takes(Input::Probe(Frame::Text("2probe")), &[answer]);
        script
    }

    fn after(&mut self, millis: u64) -> &mut Self {
        self.at += millis;
        self
    }

    #[track_caller]
    fn takes(&mut self, input: Input<'_>, expected: &[Action]) {
        let mut actions = Vec::new();
        let shown = format!("{input:?}");
        assert_eq!(self.engine.apply(input, at(self.at), &mut actions), Ok(()), "{shown}");
        assert_eq!(actions, expected, "{shown}");
    }

    #[track_caller]
    fn refuses(&mut self, input: Input<'_>, refusal: Refusal, expected: &[Action]) {
        let mut actions = Vec::new();
        let shown = format!("{input:?}");
        assert_eq!(self.engine.apply(input, at(self.at), &mut actions), Err(refusal), "{shown}");
        assert_eq!(actions, expected, "{shown}");
    }
}

fn text(text: &str) -> Action {
    Action::Deliver(Message::Text(text.into()))
}

const PING: Action = Action::Send(Packet::Ping(""));

#[test]
fn the_greeting_is_that_of_the_protocol() {
    let engine = Engine::polling(Timing::default(), at(0));
    assert_eq!(
        engine.greeting("x"),
        r#"0{"sid":"x","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
    );
    let engine = Engine::websocket(Timing::default(), at(0));
    assert!(engine.greeting("x").contains(r#""upgrades":[]"#));
}

#[test]
fn a_body_is_messages_for_the_application() {
    let mut script = Script::polling();
    script.takes(Input::Post, &[]);
    let binary = Action::Deliver(Message::Binary(vec![1, 2, 3, 4]));
    script.takes(Input::Posted(b"4hello\x1ebAQIDBA=="), &[text("hello"), binary]);
    script.takes(Input::Post, &[]);
}

#[test]
fn a_malformed_body_ends_the_session() {
    for body in ["abc", "", "0{}", "2", "2probe", "3probe", "5", "6"] {
        let mut script = Script::polling();
        script.takes(Input::Post, &[]);
        let end = Action::End(Ended::Malformed);
        script.refuses(Input::Posted(body.as_bytes()), Refusal::BadRequest, &[end]);
        script.refuses(Input::Poll, Refusal::UnknownSession, &[]);
    }
}

#[test]
fn a_second_get_at_once_ends_the_session() {
    let mut script = Script::polling();
    script.takes(Input::Poll, &[]);
    script.takes(Input::Polled, &[]);
    script.takes(Input::Poll, &[]);
    script.refuses(Input::Poll, Refusal::BadRequest, &[Action::End(Ended::Overlap)]);
}

#[test]
fn a_second_post_at_once_ends_the_session() {
    let mut script = Script::polling();
    script.takes(Input::Post, &[]);
    script.refuses(Input::Post, Refusal::BadRequest, &[Action::End(Ended::Overlap)]);
}

#[test]
fn a_client_that_closes_gets_its_get_back() {
    let mut script = Script::polling();
    script.takes(Input::Poll, &[]);
    script.takes(Input::Post, &[]);
    let end = Action::End(Ended::Client);
    script.takes(Input::Posted(b"4a\x1e1\x1e4b"), &[text("a"), Action::Release, end]);
}

#[test]
fn a_payload_of_a_stranger_has_few_packets() {
    let body = |packets: usize| vec!["4"; packets].join("\u{1e}");
    let mut script = Script::polling();
    script.takes(Input::Post, &[]);
    script.takes(Input::Posted(body(16).as_bytes()), &vec![text(""); 16]);
    script.engine.trust();
    script.takes(Input::Post, &[]);
    script.takes(Input::Posted(body(17).as_bytes()), &vec![text(""); 17]);
    let mut script = Script::polling();
    script.takes(Input::Post, &[]);
    let end = Action::End(Ended::Malformed);
    script.refuses(Input::Posted(body(17).as_bytes()), Refusal::BadRequest, &[end]);
}

#[test]
fn a_client_is_pinged_and_ends_if_it_does_not_answer() {
    let mut script = Script::websocket();
    for _ in 0..3 {
        script.after(299).takes(Input::Timer, &[]);
        script.after(1).takes(Input::Timer, &[PING]);
        script.after(199).takes(Input::Frame(Frame::Text("3")), &[]);
    }
    script.after(300).takes(Input::Timer, &[PING]);
    assert_eq!(script.engine.deadline(), at(script.at + 200).moment);
    script.after(200).refuses(
        Input::Timer,
        Refusal::UnknownSession,
        &[Action::End(Ended::PingTimeout)],
    );
}

#[test]
fn a_late_timer_does_not_save_a_dead_client() {
    let mut script = Script::polling();
    script.after(300).takes(Input::Timer, &[PING]);
    let end = Action::End(Ended::PingTimeout);
    script.after(200).refuses(Input::Poll, Refusal::UnknownSession, &[end]);
}

#[test]
fn a_late_ping_leaves_the_client_time_to_answer() {
    let mut script = Script::websocket();
    script.after(5_000).takes(Input::Timer, &[PING]);
    script.after(99).takes(Input::Frame(Frame::Text("3")), &[]);
}

#[test]
fn polling_changes_to_a_websocket() {
    let mut script = Script::polling();
    script.takes(Input::Poll, &[]);
    script.takes(Input::Socket, &[]);
    let answer = Action::SendProbe(Packet::Pong("probe"));
    script.takes(Input::Probe(Frame::Text("2probe")), &[answer, Action::Release]);
    script.takes(Input::Post, &[]);
    script.takes(Input::Posted(b"4late"), &[text("late")]);
    script.takes(Input::Probe(Frame::Text("5")), &[Action::Switch]);
    script.takes(Input::Frame(Frame::Text("4hello")), &[text("hello")]);
}

#[test]
fn a_get_that_comes_after_the_probe_ends_at_once() {
    let mut script = Script::probed();
    script.takes(Input::Poll, &[Action::Release]);
    script.takes(Input::Poll, &[Action::Release]);
    script.takes(Input::Probe(Frame::Text("5")), &[Action::Switch]);
}

#[test]
fn a_session_on_a_websocket_takes_no_other_transport() {
    let mut upgraded = Script::probed();
    upgraded.takes(Input::Probe(Frame::Text("5")), &[Action::Switch]);
    for mut script in [upgraded, Script::websocket()] {
        for input in [Input::Poll, Input::Post, Input::Socket] {
            script.refuses(input, Refusal::BadRequest, &[]);
        }
        script.takes(Input::Frame(Frame::Text("4hello")), &[text("hello")]);
    }
}

#[test]
fn only_one_websocket_at_a_time_may_try() {
    let mut script = Script::probed();
    script.refuses(Input::Socket, Refusal::BadRequest, &[]);
    script.takes(Input::ProbeLost, &[Action::DropProbe]);
    script.takes(Input::Socket, &[]);
}

#[test]
fn a_websocket_that_misbehaves_or_dawdles_leaves_the_session_polling() {
    for frame in [Frame::Text("5"), Frame::Text("4x"), Frame::Text("abc"), Frame::Binary(b"")] {
        let mut script = Script::polling();
        script.takes(Input::Socket, &[]);
        script.takes(Input::Probe(frame), &[Action::DropProbe]);
        script.takes(Input::Poll, &[]);
    }
    let timing = Timing { ping_interval: Duration::from_secs(60), ..Timing::default() };
    let mut script = Script { engine: Engine::polling(timing, at(0)), at: 0 };
    script.takes(Input::Socket, &[]);
    assert_eq!(script.engine.deadline(), at(10_000).moment);
    script.after(10_000).takes(Input::Timer, &[Action::DropProbe]);
}

#[test]
fn a_lost_transport_ends_the_session_once() {
    let mut script = Script::polling();
    script.takes(Input::Lost, &[Action::End(Ended::Lost)]);
    script.refuses(Input::Lost, Refusal::UnknownSession, &[]);
}

fn inputs() -> impl Strategy<Value = (u64, u8, String)> {
    (0..400_u64, 0..10_u8, "[0-7b]?[a-c\u{1e}]{0,3}|2probe|5|3")
}

proptest! {
    #[test]
    fn whatever_comes_a_session_ends_once_and_is_silent_then(
        steps in prop::collection::vec(inputs(), 0..60)
    ) {
        let mut engine = Engine::polling(timing(), at(0));
        let (mut millis, mut ends, mut switches) = (0, 0, 0);
        for (wait, kind, text) in &steps {
            millis += wait;
            let input = match kind {
                0 => Input::Poll,
                1 => Input::Polled,
                2 => Input::Post,
                3 => Input::Posted(text.as_bytes()),
                4 => Input::Socket,
                5 => Input::Probe(Frame::Text(text)),
                6 => Input::ProbeLost,
                7 => Input::Frame(Frame::Text(text)),
                8 => Input::Timer,
                _ => Input::Probe(Frame::Binary(text.as_bytes())),
            };
            let mut actions = Vec::new();
            let had_ended = ends > 0;
            let outcome = engine.apply(input, at(millis), &mut actions);
            prop_assert!(!had_ended || (outcome.is_err() && actions.is_empty()));
            ends += actions.iter().filter(|a| matches!(a, Action::End(_))).count();
            switches += actions.iter().filter(|a| **a == Action::Switch).count();
        }
        prop_assert!(ends <= 1 && switches <= 1);
    }
}

#[test]
fn a_get_that_waits_can_be_released_and_the_session_goes_on() {
    let mut script = Script::polling();
    script.takes(Input::Release, &[]);
    script.takes(Input::Poll, &[]);
    script.takes(Input::Release, &[Action::Release]);
    script.takes(Input::Release, &[]);
    script.takes(Input::Poll, &[]);
}
