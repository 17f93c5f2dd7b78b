//! Any bodies and WebSocket messages to an Engine.IO session: it never panics and ends at most once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::engineio::{Action, Engine, Frame, Input, Timing};
use proto::{Moment, Now};

fuzz_target!(|inputs: Vec<(u8, &[u8])>| {
    let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
    let mut engine = Engine::polling(Timing::default(), now);
    let mut actions = Vec::new();
    for (kind, bytes) in inputs {
        let frame = str::from_utf8(bytes).map_or(Frame::Binary(bytes), Frame::Text);
        let input = match kind % 8 {
            0 => Input::Poll,
            1 => Input::Polled,
            2 => Input::Post,
            3 => Input::Posted(bytes),
            4 => Input::Socket,
            5 => Input::Probe(frame),
            6 => Input::ProbeLost,
            _ => Input::Frame(frame),
        };
        // A refusal is an answer like others.
        let _ = engine.apply(input, now, &mut actions);
    }
    let ends = actions.iter().filter(|action| matches!(action, Action::End(_))).count();
    assert!(ends <= 1);
});
