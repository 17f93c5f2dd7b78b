//! Engine.IO over HTTP: a request is checked, and begins a session or finds its session.
//!
//! Who calls [`serve`] decides which app a request belongs to, and what a new session's [`Link`] is
//! used for. Sessions live on the node that began them.

use std::pin::Pin;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use axum::http::{Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use proto::App;
use proto::app::Limits;
use proto::engineio::{Refusal, Timing};
use proto::wire::Wire;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::http::cors;
use crate::random;
use crate::websocket::{accept, upgraded};

mod asked;
mod knock;
mod link;

use asked::{Asked, Transport};
pub use knock::Sessions;
use knock::{Answer, Knock};
pub use link::Link;

type Start = Box<dyn FnOnce(Link) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What new sessions of an app are held to.
#[derive(Debug)]
pub struct Terms<'a> {
    /// Time.
    pub clock: Clock,
    /// The app: its origins, and its limits on connections and on what waits for one.
    pub app: &'a App,
    /// What clients are told.
    pub timing: Timing,
}

/// Answers a request. If it begins a session, `start` runs it, in a task of its own.
pub async fn serve<F>(
    sessions: &Sessions,
    terms: &Terms<'_>,
    request: Request<Body>,
    start: impl FnOnce(Link) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let start: Start = Box::new(|link| Box::pin(start(link)));
    let page = cors::Asked::new(&request, |origin| cors::Allowed::by(terms.app, origin));
    let mut response = match page.preflight() {
        Some(answer) => answer,
        None => answer(sessions, terms, request, start).await.unwrap_or_else(refused),
    };
    page.allow(&mut response);
    response
}

async fn answer(
    sessions: &Sessions,
    terms: &Terms<'_>,
    request: Request<Body>,
    start: Start,
) -> Result<Response<Body>, Refusal> {
    let asked = Asked::of(&request)?;
    let origin = request.headers().get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if !terms.app.allows_origin(origin) {
        return Err(Refusal::Forbidden);
    }
    match (asked.sid, asked.transport) {
        (Some(sid), Transport::Polling) => forward(sessions, &sid, request).await,
        (Some(sid), Transport::WebSocket) => join(sessions, terms, &sid, request),
        (None, Transport::Polling) => {
            let (link, greeting) = Link::polling(sessions, terms)?;
            tokio::spawn(start(link));
            Ok(payload(greeting))
        }
        (None, Transport::WebSocket) => open(terms, request, start),
    }
}

/// Begins a session on a WebSocket. Nothing else can reach it, so it is not kept with the others.
fn open(
    terms: &Terms<'_>,
    mut request: Request<Body>,
    start: Start,
) -> Result<Response<Body>, Refusal> {
    let (response, upgrade) = accept(&mut request).map_err(|_| Refusal::BadRequest)?;
    let (clock, timing, limits) = (terms.clock, terms.timing, limits(terms));
    tokio::spawn(async move {
        if let Some((stream, outbox)) = upgraded(upgrade, Wire::SocketIo, &limits).await {
            start(Link::websocket((clock, timing), &random::hex(32), stream, outbox)).await;
        }
    });
    Ok(response)
}

/// Brings a WebSocket to a session that polls. Whether it may have it is decided there, after the
/// upgrade: clients take a refused upgrade for an error.
fn join(
    sessions: &Sessions,
    terms: &Terms<'_>,
    sid: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let session = sessions.find(sid).ok_or(Refusal::UnknownSession)?;
    let (response, upgrade) = accept(&mut request).map_err(|_| Refusal::BadRequest)?;
    let limits = limits(terms);
    tokio::spawn(async move {
        if let Some((stream, outbox)) = upgraded(upgrade, Wire::SocketIo, &limits).await {
            // A session that is over or does not keep up drops the WebSocket, which closes it.
            let _ = session.try_send(Knock::Socket(Box::new(stream), outbox));
        }
    });
    Ok(response)
}

/// Gives a request of a polling client to its session, and waits for the answer.
async fn forward(
    sessions: &Sessions,
    sid: &str,
    request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let session = sessions.find(sid).ok_or(Refusal::UnknownSession)?;
    let (reply, answer) = oneshot::channel();
    let knock = match *request.method() {
        Method::GET => Knock::Poll(reply),
        Method::POST => Knock::Post(request.into_body(), reply),
        _ => return Err(Refusal::BadRequest),
    };
    session.try_send(knock).map_err(|_| Refusal::BadRequest)?;
    match answer.await.map_err(|_| Refusal::UnknownSession)? {
        Answer::Payload(text) => Ok(payload(text)),
        // The JavaScript server's type, which it has for the sake of old browsers.
        Answer::Taken => Ok(([(CONTENT_TYPE, "text/html")], "ok").into_response()),
        Answer::TooLarge => Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
        Answer::Refused(refusal) => Err(refusal),
    }
}

fn payload(text: String) -> Response<Body> {
    let headers = [(CONTENT_TYPE, "text/plain; charset=UTF-8"), (CACHE_CONTROL, "no-store")];
    (headers, text).into_response()
}

fn refused(refusal: Refusal) -> Response<Body> {
    let status = match refusal {
        Refusal::Forbidden => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, [(CONTENT_TYPE, "application/json")], refusal.body()).into_response()
}

/// The app's limits, with the message size that Engine.IO's clients are told.
fn limits(terms: &Terms<'_>) -> Limits {
    Limits { message_bytes: terms.timing.max_payload, ..terms.app.limits.clone() }
}
