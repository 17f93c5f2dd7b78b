//! One attempt to deliver a webhook: a signed POST that waits four seconds at most.

use http_body_util::Full;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use proto::App;
use proto::app::Webhook;
use proto::http::webhook::signature;

use crate::outgoing::guard::Reach;
use crate::outgoing::{ATTEMPT, Bounds, Client, OutgoingError};

/// What of an answer is read, so that the connection can be used again.
const BOUNDS: Bounds = Bounds { deadline: ATTEMPT, bytes: 65_536 };

/// Posts a body, signed, with the ids of the events in it.
pub(super) async fn post(
    client: &Client,
    app: &App,
    webhook: &Webhook,
    (ids, body): (&str, &str),
) -> Result<(), OutgoingError> {
    let reach = Reach::allowing(webhook.allow_private_address);
    let complete = |mut request: hyper::http::request::Builder| {
        request = request
            .header(CONTENT_TYPE, "application/json")
            .header("X-Pusher-Key", &app.key)
            .header("X-Pusher-Signature", signature(app, body))
            .header("Handbell-Event-Ids", ids);
        for (name, value) in &webhook.headers {
            request = request.header(name, value.expose());
        }
        request.body(Full::from(body.to_owned()))
    };
    let answer = client.ask(Method::POST, (&webhook.url, reach), BOUNDS, complete).await?;
    let outcome = answer.expect_success();
    // The status decides; a body that is too long or too slow only costs the connection.
    let _ = answer.body().await;
    outcome
}
