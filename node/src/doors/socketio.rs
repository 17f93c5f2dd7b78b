//! `/socket.io/`: Socket.IO over Engine.IO's transports.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use proto::SocketId;
use proto::authorization::Shown;
use proto::door::Door;
use proto::engineio::Timing;
use proto::quota::Demand;
use proto::topics::{Identity, Session};

use super::visitors::{check_open, claimed, shown};
use crate::apps::AppEntry;
use crate::engineio::{Link, Terms, serve};
use crate::http::error::HttpError;
use crate::random;
use crate::reader::Reader;
use crate::server::Server;
use crate::session::{self, Connection};

/// Answers a request of a client. Who it is it says later, in a message: here the app is known, by
/// `?app=` and its key, or because there is only one.
pub async fn connect(State(server): State<Arc<Server>>, request: Request<Body>) -> Response<Body> {
    let Some(entry) = claimed(&server, &request) else {
        let message = "no app has this key; with several apps say which: `query: { app: key }`";
        return HttpError::bad_request(message).into_response();
    };
    if let Err(refused) = check_open(&entry.app, &request) {
        return refused.into_response();
    }
    let is_new = !request.uri().query().unwrap_or_default().contains("sid=");
    if is_new && (server.is_draining() || server.router.channels().is_stopped()) {
        return HttpError::unavailable("this node does not serve now; try again").into_response();
    }
    let terms = Terms { clock: server.clock, app: &entry.app, timing: Timing::default() };
    let (node, app) = (Arc::clone(&server), Arc::clone(&entry));
    let shown = shown(&entry.app, request.headers());
    let sessions = &server.sessions.engineio;
    serve(sessions, &terms, request, move |link| converse(node, app, shown, link)).await
}

async fn converse(server: Arc<Server>, entry: Arc<AppEntry>, shown: Shown, mut link: Link) {
    if server.quotas.admit(&entry.app.id, Demand::Connection).await.is_err() {
        return link.part().await;
    }
    let identity = Identity { id: random::hex(20), secret: random::hex(32) };
    let session = Session::new(identity, shown, &entry.app, server.clock.now());
    let connection = Connection {
        socket: SocketId::from_random(random::bits()),
        entry,
        door: Door::SocketIo(Box::new(session)),
        outbox: Arc::clone(link.outbox()),
        reader: Reader::Link(Box::new(link)),
    };
    tokio::spawn(session::run(server, connection));
}
