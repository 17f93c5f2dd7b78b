//! Parts of the documentation that are made from the code: `UPDATE_EXPECT=1` writes them anew.

use std::fmt::Write as _;

use expect_test::expect_file;
use proto::Limits;

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
    page.push_str(
        "\nFixed, because the protocol or the SDKs fix them, or because nobody should need another value:\n\n\
         | what | limit | beyond it |\n|---|---|---|\n\
         | user id | 128 bytes | subscription error, error 4009 or HTTP 400 |\n\
         | nesting of JSON from outside | 64 levels | error 4300 or HTTP 400 |\n\
         | idempotency key | 256 bytes, remembered for 120 s | HTTP 400 |\n\
         | id of a publish with a token | 128 bytes, remembered for 120 s | `invalid_message` or HTTP 400 |\n\
         | keys remembered | 4,096 for each of 4,096 slots | the oldest are forgotten |\n\
         | token | 8192 bytes | HTTP 401, or `Authentication failed` |\n\
         | answer of an application that is asked | 8192 bytes, 64 questions of an app at once | HTTP 503 |\n\
         | channels of an event stream, a poll, or a place | 100 | HTTP 400; a Socket.IO client in more is not recovered |\n\
         | wait of a poll | 25 s | it is answered |\n\
         | Engine.IO payload from a client | 1,000,000 bytes; 16 packets until it was let in, then 4,096 | the session is closed |\n\
         | Socket.IO client that does not connect to a namespace | 45 s | the session is closed |\n\
         | Socket.IO namespaces of an app | 16 | the configuration is refused |\n\
         | age of a signed request | 600 s either way | HTTP 401 |\n\
         | head of an HTTP request | 16 KiB, 100 headers, 10 s | HTTP 431, or the connection is closed |\n\
         | body of an HTTP request | `request_bytes`, at 1 KiB a second or faster | HTTP 413 or 408 |\n\
         | pusher-js over HTTP: a client that listens to nothing | 10 s | the session is over |\n\
         | pusher-js over HTTP: body of an `xhr_send` | twice `message_bytes` | HTTP 413 |\n\
         | TLS handshake | 10 s | the connection is closed |\n\
         | requests of one connection to channels without an answer | 32 | its socket is not read |\n\
         | answer of a channel's owner | 4.5 s | HTTP 503, subscription error 503 or error 4303 |\n\
         | restarts of one channel after panics | 5 in 10 s | unavailable for 30 s |\n\
         | users whose publishes and polls are counted at one node | 65,536 | all of them begin with full budgets |\n\
         | answer of the node that counts a user's publishes and polls | 250 ms | it is let do it |\n\
         | webhook attempt | 4 s, tried for 5 minutes | dropped, counted and logged |\n\
         | members whose leaving one channel holds back for webhooks | 10,000 | told at once |\n",
    );
    expect_file!["../../docs/LIMITS.md"].assert_eq(&page);
}
