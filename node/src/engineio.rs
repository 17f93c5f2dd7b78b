//! Engine.IO over HTTP: a request is checked, and begins a session or finds its session.
//!
//! Who calls [`serve`] decides which app a request belongs to, and what a new session's [`Link`] is
//! used for. A session lives on the node that began it; requests may come to any.

use std::pin::Pin;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use axum::http::{Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use proto::App;
use proto::app::Limits;
use proto::cluster::visit::{Errand, Visited};
use proto::engineio::{Refusal, Timing};
use proto::wire::Wire;

use crate::clock::Clock;
use crate::http::cors;
use crate::http::error::HttpError;
use crate::random;
use crate::websocket::{accept, upgraded};

mod arrival;
mod bridge;
mod knock;
mod link;
mod sessions;

use arrival::{Arrival, Transport};
use bridge::Bridge;
use knock::Knock;
pub use link::Link;
use link::read_all;
pub use sessions::Sessions;

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
    let page = cors::PageRequest::new(&request, |origin| cors::Allowed::by(terms.app, origin));
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
    let arrival = Arrival::of(&request)?;
    let origin = request.headers().get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if !terms.app.allows_origin(origin) {
        return Err(Refusal::Forbidden);
    }
    match (arrival.sid, arrival.transport) {
        (Some(sid), Transport::Polling) => forward(sessions, terms, &sid, request).await,
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
            let link = Link::websocket((clock, timing), &random::hex(32), stream, outbox);
            // In a task of its own: this one is as large as the upgrade needed it.
            tokio::spawn(start(link));
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
    let place = match (sessions.find(sid), sessions.home(sid)) {
        (Some(session), _) => Ok(session),
        (None, Some(home)) => Err(home),
        (None, None) => return Err(Refusal::UnknownSession),
    };
    let (response, upgrade) = accept(&mut request).map_err(|_| Refusal::BadRequest)?;
    let (limits, timing) = (limits(terms), terms.timing);
    let (sessions, sid) = (sessions.clone(), sid.to_owned());
    tokio::spawn(async move {
        let upgraded = upgraded(upgrade, Wire::SocketIo, &limits).await;
        let Some((stream, outbox)) = upgraded else { return };
        let stream = Box::new(stream);
        match place {
            // A session that is over or does not keep up drops the WebSocket, which closes it.
            Ok(session) => drop(session.try_send(Knock::Socket(stream, outbox))),
            Err(home) => Bridge { sessions, home, sid, stream, outbox }.run(timing).await,
        }
    });
    Ok(response)
}

/// Gives a request of a polling client to its session, wherever that is, and waits for the answer.
async fn forward(
    sessions: &Sessions,
    terms: &Terms<'_>,
    sid: &str,
    request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let answer = match (sessions.home(sid), request.method()) {
        (None, &Method::GET) => Ok(sessions.poll(sid).await.unwrap_or(Visited::Gone)),
        (None, &Method::POST) => {
            Ok(sessions.post(sid, request.into_body()).await.unwrap_or(Visited::Gone))
        }
        (Some(home), &Method::GET) => sessions.visit(&home, sid, Errand::Poll).await,
        (Some(home), &Method::POST) => {
            match read_all(request.into_body(), terms.timing.max_payload).await {
                Ok(body) => sessions.visit(&home, sid, Errand::Post(body)).await,
                Err(answer) => Ok(answer),
            }
        }
        _ => return Err(Refusal::BadRequest),
    };
    match answer {
        Ok(Visited::Payload(text)) => Ok(payload(text)),
        // The JavaScript server's type, which it has for the sake of old browsers.
        Ok(Visited::Taken) => Ok(([(CONTENT_TYPE, "text/html")], "ok").into_response()),
        Ok(Visited::TooLarge) => Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
        Ok(Visited::Refused(refusal)) => Err(refusal),
        Ok(Visited::Gone) => Err(Refusal::UnknownSession),
        // Engine.IO has no word for it.
        Err(unreached) => Ok(HttpError::unavailable(unreached.to_string()).into_response()),
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
