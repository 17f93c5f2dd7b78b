//! Any messages to a connection's Socket.IO sockets: it never panics, closes at most once, and what
//! it sends reads as packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::socketio::{Action, Input, Socket, Sockets, Terms, Typed};
use proto::{Moment, Now};

fuzz_target!(|messages: Vec<&[u8]>| {
    let now = Now { moment: Moment::from_micros(1), unix_ms: 0 };
    let mut sockets = Sockets::new(Terms::default(), now);
    let mut actions = Vec::new();
    for message in messages {
        let input = str::from_utf8(message).map_or(Input::Binary(message), Input::Text);
        sockets.apply(input, now, &mut actions);
        let socket = Socket { id: "s", private: None };
        sockets.apply(Input::Accept { namespace: "/", socket }, now, &mut actions);
    }
    let mut closes = 0;
    for action in actions {
        match action {
            Action::Send(text) => assert!(Typed::parse(&text).is_ok(), "{text}"),
            Action::Close(_) => closes += 1,
            _ => {}
        }
    }
    assert!(closes <= 1);
});
