//! `GET /ws?token=`: a plain WebSocket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use proto::door::Door;
use proto::plain::Session;
use proto::quota::Demand;
use proto::visitor::Visitor;
use proto::wire::Wire;
use proto::{Refusal, SocketId};

use super::visitors::Guest;
use crate::apps::AppEntry;
use crate::http::error::HttpError;
use crate::random;
use crate::reader::Reader;
use crate::server::Server;
use crate::session::{self, Connection};
use crate::websocket::{accept, upgraded};

/// Answers with the upgrade.
///
/// # Errors
/// 401 without a valid token and 403 for a page of another origin, before the upgrade.
pub async fn connect(
    State(server): State<Arc<Server>>,
    mut request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let guest = Guest::of(&server, &request)?;
    let (entry, visitor) = guest.let_user_in("ws", &[]).await?;
    if server.is_draining() || server.router.channels().is_stopped() {
        return Err(HttpError::unavailable("this node does not serve now; try again"));
    }
    let (answer, upgrade) = accept(&mut request)?;
    server.quotas.admit(&entry.app.id, Demand::Connection).await.map_err(Refusal::from)?;
    tokio::spawn(open(server, entry, visitor, upgrade));
    Ok(answer)
}

async fn open(server: Arc<Server>, entry: Arc<AppEntry>, visitor: Visitor, upgrade: OnUpgrade) {
    let Some((stream, outbox)) = upgraded(upgrade, Wire::Plain, &entry.app.limits).await else {
        server.quotas.release(&entry.app.id, Demand::Connection);
        return;
    };
    let socket = SocketId::from_random(random::bits());
    let door = Door::Plain(Session::new(visitor, server.timing, server.clock.now()));
    let reader = Reader::of(stream);
    // In a task of its own: this one is as large as the upgrade needed it.
    tokio::spawn(session::run(server, Connection { socket, entry, door, reader, outbox }));
}
