//! `/pusher/app/{key}/{number}/{session}/…`: the HTTP fallback of pusher-js. The client makes the
//! session's id up: a number and eight characters.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse;
use proto::door::Close;
use proto::pusher::code::CloseCode;
use proto::pusher::fallback::{OPEN, lines, messages};
use proto::quota::Demand;
use proto::wire::Wire;

use super::pusher::{begin, book, check, turned_away};
use crate::apps::AppEntry;
use crate::exchange::{Exchange, Knock, Listener};
use crate::http::error::HttpError;
use crate::http::read_body;
use crate::outbox::{Outbox, Writer};
use crate::reader::Reader;
use crate::server::Server;

/// Characters of each part of a session's id.
const ID_PART_MAX: usize = 32;

/// The parts of a path.
type Named = Path<(String, String, String)>;

/// `POST …/xhr_streaming`: a response that lasts.
///
/// # Errors
/// 404 if the session has no id.
pub async fn stream(
    State(server): State<Arc<Server>>,
    named: Named,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    listen(server, named, request, Listener::stream()).await
}

/// `POST …/xhr`: a response that ends with what it says first.
///
/// # Errors
/// As [`stream`].
pub async fn poll(
    State(server): State<Arc<Server>>,
    named: Named,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    listen(server, named, request, Listener::poll()).await
}

/// `POST …/xhr_send`: what the client says.
///
/// # Errors
/// 404 if the session is not here, 403 for pages that may not connect, 413 for a body that is too
/// large, 400 if it cannot be read. pusher-js does not look.
pub async fn say(
    State(server): State<Arc<Server>>,
    named: Named,
    request: Request<Body>,
) -> Result<StatusCode, HttpError> {
    let gone = || HttpError::not_found("this node has no such session");
    let (key, id) = session_id(named)?;
    let checked = check(&server, &key, &request);
    let entry = checked
        .map_err(|close| HttpError::new(StatusCode::FORBIDDEN, "turned_away", close.reason))?;
    let session = server.fallback.find(&id).ok_or_else(gone)?;
    let limits = &entry.app.limits;
    // A message of quotes alone is twice as long in a string.
    let bytes_max = limits.request_bytes.min(2 * limits.message_bytes + 4);
    let body = read_body(request.into_body(), bytes_max).await?;
    let messages = messages(&body)
        .map_err(|error| HttpError::bad_request(format!("the body cannot be read: {error}")))?;
    session.send(Knock::Say(messages)).await.map_err(|_| gone())?;
    Ok(StatusCode::NO_CONTENT)
}

async fn listen(
    server: Arc<Server>,
    named: Named,
    request: Request<Body>,
    (listener, body): (Listener, Body),
) -> Result<Response<Body>, HttpError> {
    let (key, id) = session_id(named)?;
    let checked = check(&server, &key, &request);
    let body = match join(&server, checked, id, listener).await {
        Ok(()) => body,
        Err(close) => farewell(&server, &close),
    };
    // SockJS's type, which browsers do not hold back to look at it.
    let headers = [
        (CONTENT_TYPE.as_str(), "application/javascript; charset=UTF-8"),
        (CACHE_CONTROL.as_str(), "no-store"),
        ("x-accel-buffering", "no"),
    ];
    let mut response = (headers, body).into_response();
    if server.is_draining() {
        // The next node is only reached by another connection.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Gives a response to its session, or to one that begins with it: that is how pusher-js finds out
/// that a session is lost.
async fn join(
    server: &Arc<Server>,
    checked: Result<Arc<AppEntry>, Close>,
    id: String,
    listener: Listener,
) -> Result<(), Close> {
    if checked.is_ok()
        && let Some(session) = server.fallback.find(&id)
    {
        // A session that is ending drops it, and the response is empty.
        let _ = session.send(Knock::Listen(listener)).await;
        return Ok(());
    }
    let entry = book(server, checked).await?;
    let limits = &entry.app.limits;
    let max = usize::try_from(limits.connections).unwrap_or(usize::MAX);
    let Some(place) = server.fallback.begin(&entry.app.id, max, id) else {
        server.quotas.release(&entry.app.id, Demand::Connection);
        return Err(CloseCode::OverCapacity.because("there is no room for this session"));
    };
    let outbox = Arc::new(Outbox::new(Writer::Held, Wire::Pusher, limits));
    let exchange = Exchange::new(place, listener, Arc::clone(&outbox), limits.message_bytes);
    let reader = Reader::Exchange(Box::new(exchange));
    tokio::spawn(begin(Arc::clone(server), entry, (reader, outbox), None));
    Ok(())
}

fn farewell(server: &Server, close: &Close) -> Body {
    let frames = [turned_away(server, close), Wire::Pusher.close(close)];
    format!("{OPEN}{}", lines(frames.iter().map(|frame| &frame[..]))).into()
}

/// The app's key, and the id under which a session is known here.
fn session_id(Path((key, number, session)): Named) -> Result<(String, String), HttpError> {
    let is_part = |part: &str| {
        (1..=ID_PART_MAX).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    match is_part(&number) && is_part(&session) {
        true => {
            let id = format!("{key}/{number}/{session}");
            Ok((key, id))
        }
        false => Err(HttpError::not_found("a session has a number and an alphanumeric id")),
    }
}
