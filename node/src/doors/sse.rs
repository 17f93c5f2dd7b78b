//! `GET /sse/…`: an event stream. The socket is taken over from the HTTP server, so that a stream
//! costs what a WebSocket costs, and no more.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use proto::cursor::Cursor;
use proto::door::Door;
use proto::quota::Demand;
use proto::sse::{Session, Timing, Wanted};
use proto::visitor::Visitor;
use proto::wire::Wire;
use proto::{App, Refusal, SocketId};

use super::head;
use super::visitors::{Guest, Parameters, check_channels};
use crate::apps::AppEntry;
use crate::http::error::HttpError;
use crate::listen::Takeover;
use crate::random;
use crate::reader::Reader;
use crate::server::Server;
use crate::session::{self, Connection};
use crate::socket::Stream;

/// How long a client waits before it connects again: from here to twice that, each another time.
const RETRY: Duration = Duration::from_secs(1);
/// Something is sent at every heartbeat. If nothing of it has been taken a heartbeat later the client is
/// lost, but not earlier than after this time.
const LOST_AFTER_MIN: Duration = Duration::from_secs(1);

/// Answers with a stream.
///
/// # Errors
/// 401 and 403 before the stream begins, 404 for a path that is no channel's, 503 while shutting down.
pub async fn connect(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let guest = Guest::of(&server, &request)?;
    if server.is_draining() || server.router.channels().is_stopped() {
        return Err(HttpError::unavailable("this node does not serve now; try again"));
    }
    let names = names(&server, guest.app(), &request)?;
    let cursor = last_id(request.headers(), &Parameters::of(request.uri()))?;
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let (entry, visitor) = guest.let_in("sse", &asked).await?;
    let wanted = wanted(&entry.app, &visitor, &names, cursor.as_ref())?;
    let Some(takeover) = request.extensions().get::<Takeover>().cloned() else {
        return Err(HttpError::unavailable("this connection cannot become a stream"));
    };
    server.quotas.admit(&entry.app.id, Demand::Connection).await.map_err(Refusal::from)?;
    let head = head::event_stream(&entry.app, request.headers());
    let stream = open(Arc::clone(&server), entry, (visitor, wanted), head);
    takeover.begin(Box::new(|socket| Box::pin(stream(socket)))).await
}

/// What becomes of the connection.
fn open(
    server: Arc<Server>,
    entry: Arc<AppEntry>,
    (visitor, wanted): (Visitor, Vec<Wanted>),
    head: Bytes,
) -> impl FnOnce(Stream) -> session::Running + Send {
    move |stream| {
        let heartbeat = server.doors.sse.heartbeat.0;
        if let Err(error) = stream.lose_after(heartbeat.max(LOST_AFTER_MIN)) {
            tracing::debug!(%error, "a stream that is lost will be noticed late");
        }
        let (socket, outbox) = stream.divide(Wire::Sse, &entry.app.limits);
        // It is the first: there is room.
        let _ = outbox.send(head);
        let spread = RETRY.mul_f64(random::fraction());
        let timing = Timing { heartbeat, retry: RETRY + spread };
        let door = Door::Sse(Session::new(visitor, wanted, timing, server.clock.now()));
        let reader = Reader::Silent(socket);
        let socket = SocketId::from_random(random::bits());
        session::run(server, Connection { socket, entry, door, reader, outbox })
    }
}

/// The channels of a stream, and where it goes on in them.
fn wanted(
    app: &App,
    visitor: &Visitor,
    names: &[String],
    cursor: Option<&Cursor>,
) -> Result<Vec<Wanted>, HttpError> {
    let mut wanted: Vec<Wanted> = Vec::with_capacity(names.len());
    for name in names {
        let (channel, role) = visitor.subscribe(app, name).map_err(HttpError::of_visitor)?;
        if wanted.iter().all(|(known, ..)| *known != channel) {
            let since = cursor.and_then(|cursor| cursor.get(&channel));
            wanted.push((channel, role, since));
        }
    }
    Ok(wanted)
}

/// The names in the path, by a route template or as it stands, or in the query.
fn names(server: &Server, app: &App, request: &Request<Body>) -> Result<Vec<String>, HttpError> {
    let section = &server.doors.sse;
    let path = request.uri().path().strip_prefix(section.path.as_str()).unwrap_or_default();
    let path = path.trim_start_matches('/');
    if !path.is_empty() {
        let name = section.routes.channel(path);
        let name = name.ok_or_else(|| HttpError::not_found("no channel has this path"))?;
        return Ok(vec![name]);
    }
    let parameters = Parameters::of(request.uri());
    let names: Vec<String> = parameters.channels().map(str::to_owned).collect();
    if names.is_empty() {
        let message = "which channels? `/sse/{channel}` or `?channels=a,b`";
        return Err(HttpError::bad_request(message));
    }
    check_channels(app, names.len())?;
    Ok(names)
}

/// The last event that the client has had. A browser says it by itself; others may in the URL.
fn last_id(headers: &HeaderMap, parameters: &Parameters) -> Result<Option<Cursor>, HttpError> {
    let header = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    let id = header.or_else(|| parameters.get("lastEventId")).filter(|id| !id.is_empty());
    id.map(Cursor::parse).transpose().map_err(|error| HttpError::bad_request(error.to_string()))
}
