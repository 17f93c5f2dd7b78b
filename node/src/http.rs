//! The client port's routes: the Pusher HTTP API, the WebSocket path, and the probes that
//! Pusher-like servers have.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};

use crate::config::Doors;
use crate::doors::post as posting;
use crate::doors::{fallback as fall_back, plain, poll, socketio as socket_io, sse};
use crate::server::Server;
use crate::websocket;

mod auth;
mod body;
pub mod channels;
pub mod cors;
pub mod error;
mod events;
mod notifications;
mod outermost;
mod probes;
mod users;

pub use body::read_body;

use error::HttpError;

/// The header of every JSON answer.
pub const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// All routes of the client port.
pub fn routes(server: Arc<Server>) -> Router {
    let api = Router::new()
        .route("/apps/{id}/events", post(events::event))
        .route("/apps/{id}/batch_events", post(events::batch))
        .route("/apps/{id}/channels", get(channels::list))
        .route("/apps/{id}/channels/{channel}", get(channels::show))
        .route("/apps/{id}/channels/{channel}/events", post(events::legacy))
        .route("/apps/{id}/channels/{channel}/stats", get(channels::stats))
        .route("/apps/{id}/channels/{channel}/users", get(channels::users))
        .route("/apps/{id}/connections", get(users::connections))
        .route("/apps/{id}/connections/{connection}/terminate", post(users::terminate_one))
        .route("/apps/{id}/notifications", post(notifications::notify))
        .route("/apps/{id}/users/{user}/terminate_connections", post(users::terminate))
        .route("/users/{user}/terminate_connections", post(users::terminate_by_key));
    let rest = Router::new()
        .route("/app/{key}", get(websocket::connect))
        .route("/r/{id}/app/{key}", get(websocket::connect_again))
        .route("/", get(probes::alive))
        .route("/up", get(probes::ready))
        .route("/ready", get(probes::ready))
        .route("/accept-traffic", get(probes::ready))
        .route("/usage", get(probes::usage));
    api.merge(rest)
        .merge(doors(&server.doors))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&server), outermost::run))
        .with_state(server)
}

/// The doors that are where the configuration has put them.
fn doors(doors: &Doors) -> Router<Arc<Server>> {
    let Doors { fallback, socketio, ws, sse, poll } = doors;
    let session = format!("{}/app/{{key}}/{{number}}/{{session}}", fallback.path);
    Router::new()
        .route(&format!("{session}/xhr_streaming"), post(fall_back::stream))
        .route(&format!("{session}/xhr"), post(fall_back::poll))
        .route(&format!("{session}/xhr_send"), post(fall_back::say))
        .route(&socketio.path, any(socket_io::connect))
        .route(&format!("{}/", socketio.path), any(socket_io::connect))
        .route(&ws.path, get(plain::connect))
        .route(&sse.path, get(sse::connect))
        .route(&format!("{}/{{*path}}", sse.path), get(sse::connect))
        .route(&format!("{}/poll", poll.path), get(poll::poll))
        .route(&format!("{}/publish", poll.path), post(posting::publish))
        .route(&format!("{}/presence", poll.path), get(posting::presence))
}

async fn nothing_here(request: Request<Body>) -> HttpError {
    HttpError::not_found(format!("there is nothing at {}", request.uri().path()))
}

async fn wrong_method(request: Request<Body>) -> HttpError {
    HttpError::method_not_allowed(format!("{} has no {}", request.uri().path(), request.method()))
}
