//! The Pusher door, whatever the transport is: who is let in, how their session begins, and what the
//! others are told.

use std::sync::Arc;

use axum::http::Request;
use axum::http::header::ORIGIN;
use bytes::Bytes;
use proto::SocketId;
use proto::door::{Close, Door};
use proto::http::signature::Query;
use proto::pusher::code::CloseCode;
use proto::pusher::{Resumption, Session, frame, handshake};
use proto::quota::Demand;
use proto::websocket::text_frame;

use crate::apps::AppEntry;
use crate::listen::Peer;
use crate::outbox::Outbox;
use crate::random;
use crate::reader::Reader;
use crate::router::RouteError;
use crate::server::Server;
use crate::session::{self, Connection, Running};

/// Checks a client's hello.
///
/// # Errors
/// Why the client is turned away.
pub fn check<B>(server: &Server, key: &str, request: &Request<B>) -> Result<Arc<AppEntry>, Close> {
    let entry = server.apps.by_key(key);
    let query = Query::parse(request.uri().query().unwrap_or_default()).unwrap_or_default();
    let hello = handshake::Hello {
        protocol: query.get("protocol"),
        origin: request.headers().get(ORIGIN).map(|o| o.to_str().unwrap_or("null")),
        is_tls: request.extensions().get::<Peer>().is_some_and(|peer| peer.is_tls),
    };
    handshake::check(entry.as_deref().map(|entry| &entry.app), hello)?;
    entry.ok_or_else(|| CloseCode::UnknownApp.because("no app has this key"))
}

/// Counts the connection of a client whose hello was checked against its app's quota, if this node
/// takes new ones.
///
/// # Errors
/// Why the client is turned away.
pub async fn book(
    server: &Server,
    checked: Result<Arc<AppEntry>, Close>,
) -> Result<Arc<AppEntry>, Close> {
    let entry = checked?;
    if server.is_draining() {
        return Err(CloseCode::Reconnect.because("the server is going away; reconnect"));
    }
    if server.router.channels().is_stopped() {
        return Err(CloseCode::OverCapacity.because("this node does not serve now; try another"));
    }
    let booked = server.quotas.admit(&entry.app.id, Demand::Connection).await;
    booked.map(|()| Arc::clone(&entry)).map_err(|error| match error {
        RouteError::Refused(_) => {
            CloseCode::OverQuota.because("the app has as many connections as it may")
        }
        RouteError::NotOwner | RouteError::Unavailable => {
            CloseCode::OverCapacity.because("the node is not ready; try again")
        }
    })
}

/// Begins the session of a client that was let in and counted.
pub fn begin(
    server: Arc<Server>,
    entry: Arc<AppEntry>,
    (reader, outbox): (Reader, Arc<Outbox>),
    resumption: Option<Resumption>,
) -> Running {
    let socket = SocketId::from_random(random::bits());
    let session = Session::new(socket, server.timing, resumption, server.clock.now());
    let door = Door::Pusher(session);
    session::run(server, Connection { socket, entry, door, reader, outbox })
}

/// What a client that is turned away hears before the close: older libraries read the event, newer
/// ones the code.
#[must_use]
pub fn turned_away(server: &Server, close: &Close) -> Bytes {
    server.metrics.handshake_rejected(reason(close));
    text_frame(&frame::error(close.code, &close.reason))
}

const fn reason(close: &Close) -> &'static str {
    match close.code {
        4000 => "tls_only",
        4001 => "unknown_app",
        4003 => "app_disabled",
        4004 => "over_quota",
        4007 => "protocol",
        4009 => "origin",
        4200 => "draining",
        _ => "other",
    }
}
