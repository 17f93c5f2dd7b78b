//! What is done to users and connections as a whole.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use proto::channel::Command;
use proto::{AppId, ChannelKey, ChannelName, Refusal, UserId};
use serde_json::json;

use crate::server::Server;

use super::auth::{authenticate, authenticate_by_key};
use super::channels::answer;
use super::error::HttpError;

/// `POST /apps/{id}/users/{user}/terminate_connections`.
pub(super) async fn terminate(
    State(server): State<Arc<Server>>,
    Path((id, user)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<impl IntoResponse, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    end_connections(&server, &authentic.entry.app.id, &user).await
}

/// `POST /users/{user}/terminate_connections`: pusher 3.3.4 for Python leaves the app out.
pub(super) async fn terminate_by_key(
    State(server): State<Arc<Server>>,
    Path(user): Path<String>,
    request: Request<Body>,
) -> Result<impl IntoResponse, HttpError> {
    let authentic = authenticate_by_key(&server, request).await?;
    end_connections(&server, &authentic.entry.app.id, &user).await
}

async fn end_connections(
    server: &Server,
    app: &AppId,
    user: &str,
) -> Result<impl IntoResponse + use<>, HttpError> {
    let user = UserId::parse(user).map_err(Refusal::from)?;
    let channel = ChannelName::of_user(&user);
    let key = ChannelKey { app: app.clone(), channel };
    server.router.ask(key, Command::Terminate).answer().await.map_err(Refusal::from)?;
    Ok(answer(&json!({})))
}

/// `POST /apps/{id}/connections/{connection}/terminate`: one connection, by the id that its client
/// knows: `socket_id`, or `connectionId` of Socket.IO.
pub(super) async fn terminate_one(
    State(server): State<Arc<Server>>,
    Path((id, connection)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<impl IntoResponse, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let app = &authentic.entry.app.id;
    match server.router.terminate(app, connection).await.map_err(Refusal::from)? {
        true => Ok(answer(&json!({}))),
        false => {
            let message = "no node has a connection of this id";
            Err(HttpError::new(StatusCode::NOT_FOUND, "connection_not_found", message))
        }
    }
}

/// `GET /apps/{id}/connections`, as Reverb has it.
pub(super) async fn connections(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<impl IntoResponse, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let app = &authentic.entry.app.id;
    let open = server.quotas.connections(app).await.map_err(Refusal::from)?;
    Ok(answer(&json!({ "connections": open })))
}
