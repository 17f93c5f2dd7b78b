//! `/pusher/app/{key}/{number}/{session}/…`: the HTTP fallback of pusher-js. The client makes the
//! session's id up: a number and eight characters.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse;
use proto::door::Close;
use proto::pusher::Resumption;
use proto::pusher::code::CloseCode;
use proto::pusher::fallback::{OPEN, lines, messages};
use proto::quota::Demand;
use proto::wire::Wire;
use proto::{ChannelName, Refusal};

use super::pusher::{begin, book, check, turned_away};
use crate::apps::AppEntry;
use crate::exchange::{Exchange, Knock, Listener};
use crate::http::error::HttpError;
use crate::http::read_body;
use crate::outbox::{Outbox, Writer};
use crate::reader::Reader;
use crate::server::Server;

mod elsewhere;

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
/// 404 if there is no such session, 503 if it cannot be reached or nobody can say whether there is one,
/// 403 for pages that may not connect, 413 for a body that is too large, 400 if it cannot be read.
/// pusher-js does not look.
pub async fn say(
    State(server): State<Arc<Server>>,
    named: Named,
    request: Request<Body>,
) -> Result<StatusCode, HttpError> {
    let gone = || HttpError::not_found("there is no such session");
    let named = Session::named(named)?;
    let checked = check(&server, &named.key, &request);
    let entry = checked
        .map_err(|close| HttpError::new(StatusCode::FORBIDDEN, "turned_away", close.reason))?;
    let limits = &entry.app.limits;
    // A message of quotes alone is twice as long in a string.
    let bytes_max = limits.request_bytes.min(2 * limits.message_bytes + 4);
    let body = read_body(request.into_body(), bytes_max).await?;
    let messages = messages(&body)
        .map_err(|error| HttpError::bad_request(format!("the body cannot be read: {error}")))?;
    if let Some(session) = server.sessions.fallback.find(&named.id) {
        session.send(Knock::Say(messages)).await.map_err(|_| gone())?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let home = elsewhere::home(&server, &entry.app.id, &named.channel).await;
    let home = home.map_err(Refusal::from)?.ok_or_else(gone)?;
    match elsewhere::say(&server, &home, &named.id, messages).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(gone()),
        Err(unreached) => Err(HttpError::unavailable(unreached.to_string())),
    }
}

async fn listen(
    server: Arc<Server>,
    named: Named,
    request: Request<Body>,
    (listener, body): (Listener, Body),
) -> Result<Response<Body>, HttpError> {
    let named = Session::named(named)?;
    let checked = check(&server, &named.key, &request);
    let body = match join(&server, checked, named, listener).await {
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
    named: Session,
    listener: Listener,
) -> Result<(), Close> {
    let Session { id, channel, .. } = named;
    if let Ok(entry) = &checked {
        if let Some(session) = server.sessions.fallback.find(&id) {
            // A session that is ending drops it, and the response is empty.
            let _ = session.send(Knock::Listen { listener, is_asked: true }).await;
            return Ok(());
        }
        let home = elsewhere::home(server, &entry.app.id, &channel).await;
        let unreachable = |_| CloseCode::OverCapacity.because("the session cannot be reached");
        if let Some(home) = home.map_err(unreachable)? {
            let server = Arc::clone(server);
            tokio::spawn(async move { elsewhere::listen(&server, &home, &id, listener).await });
            return Ok(());
        }
    }
    let entry = book(server, checked).await?;
    let limits = &entry.app.limits;
    let max = usize::try_from(limits.connections).unwrap_or(usize::MAX);
    let Some(place) = server.sessions.fallback.begin(&entry.app.id, max, id) else {
        server.quotas.release(&entry.app.id, Demand::Connection);
        return Err(CloseCode::OverCapacity.because("there is no room for this session"));
    };
    let outbox = Arc::new(Outbox::new(Writer::Held, Wire::Pusher, limits));
    let exchange = Exchange::new(place, listener, Arc::clone(&outbox), limits.message_bytes);
    let reader = Reader::Exchange(Box::new(exchange));
    let resumption = Resumption::findable(channel, server.clock.now());
    tokio::spawn(begin(Arc::clone(server), entry, (reader, outbox), Some(resumption)));
    Ok(())
}

fn farewell(server: &Server, close: &Close) -> Body {
    let frames = [turned_away(server, close), Wire::Pusher.close(close)];
    format!("{OPEN}{}", lines(frames.iter().map(|frame| &frame[..]))).into()
}

/// A session, as its path names it.
struct Session {
    /// The app's key.
    key: String,
    /// The id under which the node that has it knows it.
    id: String,
    /// The channel that stands for it.
    channel: ChannelName,
}

impl Session {
    fn named(Path((key, number, session)): Named) -> Result<Self, HttpError> {
        let is_part = |part: &str| {
            (1..=ID_PART_MAX).contains(&part.len())
                && part.chars().all(|c| c.is_ascii_alphanumeric())
        };
        let channel = ChannelName::of_session(&format!("http-{number}-{session}"));
        match channel {
            Ok(channel) if is_part(&number) && is_part(&session) => {
                let id = format!("{key}/{number}/{session}");
                Ok(Self { key, id, channel })
            }
            _ => Err(HttpError::not_found("a session has a number and an alphanumeric id")),
        }
    }
}
