//! The head of an answer whose body never ends: written by hand, because from there on the socket
//! belongs to the connection's outbox.

use std::fmt::Write;

use axum::http::{HeaderMap, header::ORIGIN};
use bytes::Bytes;
use proto::App;

/// The head of an event stream. The page that asked may read it: it was let in.
#[must_use]
pub fn event_stream(app: &App, headers: &HeaderMap) -> Bytes {
    let mut head = String::from(
        "HTTP/1.1 200 OK\r\n\
         content-type: text/event-stream\r\n\
         cache-control: no-store\r\n\
         x-accel-buffering: no\r\n\
         connection: close\r\n\
         server: handbell\r\n\
         vary: origin\r\n",
    );
    if let Some(origin) = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()) {
        // A header's value has no line break, so it adds no other header.
        let _ = write!(head, "access-control-allow-origin: {origin}\r\n");
        if app.backends().next().is_some() {
            head.push_str("access-control-allow-credentials: true\r\n");
        }
    }
    head.push_str("\r\n");
    head.into()
}
