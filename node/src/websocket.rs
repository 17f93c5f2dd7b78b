//! The Pusher door over WebSocket: the upgrade (RFC 6455 §4.2), and the start of a connection.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use proto::ChannelName;
use proto::app::Limits;
use proto::door::Close;
use proto::pusher::Resumption;
use proto::quota::Demand;
use proto::wire::Wire;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::apps::AppEntry;
use crate::doors::pusher::{begin, book, check, turned_away};
use crate::http::error::HttpError;
use crate::outbox::Outbox;
use crate::reader::{Reader, part};
use crate::server::Server;
use crate::socket::{Socket, Stream};

/// Bytes that the reader takes from the socket at once. Client messages are small, and every idle
/// connection keeps a buffer of this size; tungstenite's default is 128 KiB.
const READ_BUFFER: usize = 512;

/// Characters of the id of a session that outlives its connection: enough not to be guessed.
const RESUME_ID_MIN: usize = 16;
const RESUME_ID_MAX: usize = 64;

/// `GET /app/{key}`.
///
/// # Errors
/// If the request is no WebSocket upgrade.
pub async fn connect(
    State(server): State<Arc<Server>>,
    Path(key): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let_in(server, key, None, request).await
}

/// `GET /r/{id}/app/{key}`: another connection with the same id goes on where this one ends. The id is
/// a secret of the client, such as the tab of a page.
///
/// # Errors
/// As [`connect`].
pub async fn connect_again(
    State(server): State<Arc<Server>>,
    Path((id, key)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let channel = match id.len() {
        RESUME_ID_MIN..=RESUME_ID_MAX if id.chars().all(is_plain) => {
            ChannelName::of_session(&format!("r-{id}")).ok()
        }
        _ => None,
    };
    let Some(channel) = channel else {
        return Err(HttpError::bad_request(format!(
            "the id of a session is random, {RESUME_ID_MIN} to {RESUME_ID_MAX} of A-Z a-z 0-9 _ -"
        )));
    };
    let resumption = Resumption::resumable(channel, server.history.window(), server.clock.now());
    let_in(server, key, Some(resumption), request).await
}

async fn let_in(
    server: Arc<Server>,
    key: String,
    resumption: Option<Resumption>,
    mut request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let (answer, upgrade) = accept(&mut request)?;
    let checked = check(&server, &key, &request);
    match book(&server, checked).await {
        Ok(entry) => drop(tokio::spawn(open(server, entry, resumption, upgrade))),
        Err(close) => drop(tokio::spawn(turn_away(server, close, upgrade))),
    }
    Ok(answer)
}

/// Accepts a WebSocket upgrade: the answer to send, and what becomes the connection after it.
///
/// # Errors
/// If the request is no WebSocket upgrade.
pub fn accept(request: &mut Request<Body>) -> Result<(Response<Body>, OnUpgrade), HttpError> {
    let accept = accept_key(request)?;
    let headers =
        [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, &accept)];
    let answer = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    Ok((answer, hyper::upgrade::on(request)))
}

/// What the client must send for an upgrade, as the key of the answer.
fn accept_key<B>(request: &Request<B>) -> Result<String, HttpError> {
    let headers = request.headers();
    let is_upgrade = request.method() == Method::GET
        && lists(headers, &CONNECTION, "upgrade")
        && lists(headers, &UPGRADE, "websocket");
    if !is_upgrade {
        return Err(HttpError::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "this path takes WebSocket connections only",
        ));
    }
    // A body would be read as the first frames, by us or by a proxy in between.
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return Err(HttpError::bad_request("a WebSocket upgrade has no body"));
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION).map(|v| v.as_bytes());
    let key = headers.get(SEC_WEBSOCKET_KEY).map(|v| v.as_bytes());
    match (version, key) {
        (Some(b"13"), Some(key)) if key.len() == 24 => Ok(derive_accept_key(key)),
        _ => Err(HttpError::bad_request("a WebSocket upgrade needs version 13 and a key")),
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

async fn open(
    server: Arc<Server>,
    entry: Arc<AppEntry>,
    resumption: Option<Resumption>,
    upgrade: OnUpgrade,
) {
    let Some((stream, outbox)) = upgraded(upgrade, Wire::Pusher, &entry.app.limits).await else {
        server.quotas.release(&entry.app.id, Demand::Connection);
        return;
    };
    // In a task of its own: this one is as large as the upgrade needed it.
    tokio::spawn(begin(server, entry, (Reader::of(stream), outbox), resumption));
}

async fn turn_away(server: Arc<Server>, close: Close, upgrade: OnUpgrade) {
    let error = turned_away(&server, &close);
    let limits = Limits::default();
    let Some((mut stream, outbox)) = upgraded(upgrade, Wire::Pusher, &limits).await else {
        return;
    };
    // The outbox is new and empty: it takes both.
    let _ = outbox.send(error);
    outbox.close(&close);
    part(&mut stream, &outbox).await;
}

/// Waits for the upgrade and divides the connection. None if the client has gone.
pub async fn upgraded(
    upgrade: OnUpgrade,
    wire: Wire,
    limits: &Limits,
) -> Option<(WebSocketStream<Socket>, Arc<Outbox>)> {
    let upgraded: Upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
    let (socket, outbox) = parts.io.into_inner().divide(wire, limits);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes));
    let early = parts.read_buf.to_vec();
    let stream =
        WebSocketStream::from_partially_read(socket, early, Role::Server, Some(config)).await;
    Some((stream, outbox))
}
