//! The HTTP fallback of pusher-js: what travels over a WebSocket otherwise, as lines of a response.
//! `o` opens, `a["…","…"]` are messages, `h` asks for a sign of life, `c[4001,"…"]` closes.
//!
//! Source: pusher-js 8.6, `src/core/http`.

use crate::json::quoted;
use crate::websocket::{Frame, frames};

/// The first line of a session. pusher-js takes a second one for the loss of its session.
pub const OPEN: &str = "o\n";
/// As many UTF-16 units pusher-js reads of a response. Beyond them it asks for a new one at the end of
/// a line, and whatever else the old one says is lost.
pub const UNITS_MAX: usize = 256 * 1024;

/// The lines that say what encoded WebSocket frames would have said. Messages are one line, so that
/// pusher-js cannot leave between them; a heartbeat is before them, and the close, which is the last
/// there is, after them.
#[must_use]
pub fn lines<'a>(encoded: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut heartbeat, mut messages, mut close) = ("", String::new(), String::new());
    for frame in encoded.into_iter().flat_map(frames) {
        match frame {
            Frame::Text(text) => {
                messages.push_str(if messages.is_empty() { "a[" } else { "," });
                messages.push_str(&quoted(text));
            }
            Frame::Ping => heartbeat = "h\n",
            Frame::Close(code, reason) => close = format!("c[{code},{}]\n", quoted(reason)),
            // The protocol has no binary messages, and nobody here is pinged.
            Frame::Binary(_) | Frame::Pong => {}
        }
    }
    if !messages.is_empty() {
        messages.push_str("]\n");
    }
    format!("{heartbeat}{messages}{close}")
}

/// Reads the messages of a request's body. None are a sign of life.
///
/// # Errors
/// If it is no list of strings.
pub fn messages(body: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    serde_json::from_slice(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::{binary_frame, close_frame, ping_frame, text_frame};
    use proptest::prelude::*;

    #[test]
    fn messages_are_one_line_between_a_heartbeat_and_the_close() {
        let two = [text_frame(r#"{"a":"b"}"#), text_frame("c\nd")].concat();
        let (ping, close) = (ping_frame(), close_frame(4200, "say \"when\""));
        let encoded: [&[u8]; 4] = [&two, &ping, &text_frame("e"), &close];
        assert_eq!(
            lines(encoded),
            "h\na[\"{\\\"a\\\":\\\"b\\\"}\",\"c\\nd\",\"e\"]\nc[4200,\"say \\\"when\\\"\"]\n"
        );
    }

    #[test]
    fn what_has_no_line_says_nothing() {
        assert_eq!(lines([]), "");
        assert_eq!(lines([&binary_frame(b"x")[..]]), "");
    }

    #[test]
    fn a_body_is_a_list_of_strings() {
        assert_eq!(messages(br#"["{\"event\":\"e\"}","b"]"#).unwrap(), [r#"{"event":"e"}"#, "b"]);
        assert!(messages(b"[]").unwrap().is_empty());
        for body in ["", "{}", "[1]", "[[\"a\"]]", "[\"a\"", "[\"a\"]x", "\"a\""] {
            assert!(messages(body.as_bytes()).is_err(), "{body}");
        }
        assert!(messages(b"[\"\xff\"]").is_err());
    }

    proptest! {
        #[test]
        fn texts_survive_a_line(texts in prop::collection::vec(any::<String>(), 1..8)) {
            let encoded: Vec<_> = texts.iter().map(|text| text_frame(text)).collect();
            let line = lines(encoded.iter().map(|frame| &frame[..]));
            prop_assert_eq!(line.matches('\n').count(), 1);
            let list = line.strip_prefix('a').unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(list).unwrap(), texts);
        }

        #[test]
        fn garbage_never_panics(body: Vec<u8>) {
            let _ = messages(&body);
        }
    }
}
