//! Parts of the documentation that are made from the code: `UPDATE_EXPECT=1` writes them anew.

use std::fmt::Write as _;

use expect_test::expect_file;
use proto::authorization::ANSWER_BYTES_MAX;
use proto::budget::BUDGETS_MAX;
use proto::channel::edges::HELD_BACK_MAX;
use proto::cluster::slot::SLOTS;
use proto::cursor::CHANNELS_MAX;
use proto::door::Post;
use proto::engineio::{PACKETS_MAX, PACKETS_MAX_UNTRUSTED};
use proto::http::signature::TIMESTAMP_WINDOW_SECONDS;
use proto::idempotency::{KEY_BYTES_MAX, REMEMBERED_FOR, REMEMBERED_MAX};
use proto::json::DEPTH_MAX;
use proto::name::USER_ID_BYTES_MAX;
use proto::token::TOKEN_BYTES_MAX;
use proto::topics::NAMESPACES_MAX;
use proto::{Limits, engineio, socketio};

/// What `node` fixes, of which this crate knows nothing.
const OF_NODE: [(&str, &str, &str); 11] = [
    ("wait of a poll", "25 s", "it is answered"),
    (
        "head of an HTTP request",
        "16 KiB, 100 headers, 10 s",
        "HTTP 431, or the connection is closed",
    ),
    ("body of an HTTP request", "`request_bytes`, at 1 KiB a second or faster", "HTTP 413 or 408"),
    ("pusher-js over HTTP: a client that listens to nothing", "10 s", "the session is over"),
    ("pusher-js over HTTP: body of an `xhr_send`", "twice `message_bytes`", "HTTP 413"),
    ("TLS handshake", "10 s", "the connection is closed"),
    ("requests of one connection to channels without an answer", "32", "its socket is not read"),
    ("answer of a channel's owner", "4.5 s", "HTTP 503, subscription error 503 or error 4303"),
    ("restarts of one channel after panics", "5 in 10 s", "unavailable for 30 s"),
    ("answer of the node that counts a user's publishes and polls", "250 ms", "it is let do it"),
    ("webhook attempt", "4 s, tried for 5 minutes", "dropped, counted and logged"),
];

#[test]
fn the_limits_page_lists_every_limit() {
    let mut page = String::from(
        "# Limits\n\n\
         Everything that can grow has a limit. These stand under `[apps.limits]`, one set for each app;\n\
         a limit of 0 is refused when the configuration is read. Sizes are inclusive.\n\
         What a client gets beyond a limit names the limit, its value and its key.\n\n\
         | key | default | what it limits, and what happens beyond it |\n|---|---|---|\n",
    );
    for (name, default, meaning) in Limits::reference() {
        writeln!(page, "| `{name}` | {default} | {meaning} |").unwrap();
    }
    page.push_str(&fixed());
    expect_file!["../../docs/LIMITS.md"].assert_eq(&page);
}

/// What no configuration changes.
fn fixed() -> String {
    let remembered = format!("remembered for {} s", REMEMBERED_FOR.as_secs());
    let payload = engineio::Timing::default().max_payload;
    let connect = socketio::Terms::default().connect_timeout.as_secs();
    let rows = [
        ("user id", bytes(USER_ID_BYTES_MAX), "subscription error, error 4009 or HTTP 400"),
        ("nesting of JSON from outside", format!("{DEPTH_MAX} levels"), "error 4300 or HTTP 400"),
        ("idempotency key", format!("{}, {remembered}", bytes(KEY_BYTES_MAX)), "HTTP 400"),
        (
            "id of a publish with a token",
            format!("{}, {remembered}", bytes(Post::ID_BYTES_MAX)),
            "`invalid_message` or HTTP 400",
        ),
        (
            "keys remembered",
            format!("{} for each of {} slots", grouped(REMEMBERED_MAX), grouped(SLOTS.into())),
            "the oldest are forgotten",
        ),
        ("token", bytes(TOKEN_BYTES_MAX), "HTTP 401, or `Authentication failed`"),
        (
            "answer of an application that is asked",
            format!("{}, 64 questions of an app at once", bytes(ANSWER_BYTES_MAX)),
            "HTTP 503",
        ),
        (
            "channels of an event stream, a poll, or a place",
            CHANNELS_MAX.to_string(),
            "HTTP 400; a Socket.IO client in more is not recovered",
        ),
        (
            "Engine.IO payload from a client",
            format!(
                "{}; {PACKETS_MAX_UNTRUSTED} packets until it was let in, then {}",
                bytes(payload),
                grouped(PACKETS_MAX)
            ),
            "the session is closed",
        ),
        (
            "Socket.IO client that does not connect to a namespace",
            format!("{connect} s"),
            "the session is closed",
        ),
        (
            "Socket.IO namespaces of an app",
            NAMESPACES_MAX.to_string(),
            "the configuration is refused",
        ),
        ("age of a signed request", format!("{TIMESTAMP_WINDOW_SECONDS} s either way"), "HTTP 401"),
        (
            "users whose publishes and polls are counted at one node",
            grouped(BUDGETS_MAX),
            "all of them begin with full budgets",
        ),
        (
            "members whose leaving one channel holds back for webhooks",
            grouped(HELD_BACK_MAX),
            "told at once",
        ),
    ];
    let mut page = String::from(
        "\nFixed, because the protocol or the SDKs fix them, or because nobody should need another value:\n\n\
         | what | limit | beyond it |\n|---|---|---|\n",
    );
    let of_node = OF_NODE.map(|(what, limit, beyond)| (what, limit.to_owned(), beyond));
    for (what, limit, beyond) in rows.into_iter().chain(of_node) {
        writeln!(page, "| {what} | {limit} | {beyond} |").unwrap();
    }
    page
}

fn bytes(number: usize) -> String {
    format!("{} bytes", grouped(number))
}

/// A number with commas between its thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
