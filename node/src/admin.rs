//! The admin port: health for Kubernetes and metrics for Prometheus. Never the client port.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, Response, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use proto::app::Secret;

use crate::listen::Peer;
use crate::metrics::Scrape;
use crate::server::Server;

mod cluster;

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The node.
    pub server: Arc<Server>,
    /// Its metrics.
    pub scrape: Scrape,
    /// What lets other machines see more than health and metrics.
    pub token: Option<Secret>,
}

/// The routes of the admin port.
pub fn routes(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/cluster", get(cluster::status))
        .route("/cluster/owner", get(cluster::owner))
        .route("/cluster/channel", get(cluster::channel))
        .route("/drain", post(drain))
        .route_layer(from_fn_with_state(admin.clone(), guard));
    Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .with_state(admin)
}

/// Lets those in who are on this machine or know the token.
async fn guard(
    State(admin): State<Admin>,
    request: Request<Body>,
    next: Next,
) -> Result<Response<Body>, (StatusCode, &'static str)> {
    let is_local =
        request.extensions().get::<Peer>().is_some_and(|peer| peer.address.ip().is_loopback());
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|given| given.strip_prefix(b"Bearer "));
    let is_known = match (&admin.token, given) {
        (Some(token), Some(given)) => token.is(given),
        _ => false,
    };
    if !is_local && !is_known {
        return Err((StatusCode::UNAUTHORIZED, "this needs `admin.token` from another machine\n"));
    }
    Ok(next.run(request).await)
}

/// `POST /drain`: as SIGTERM.
async fn drain(State(admin): State<Admin>) -> &'static str {
    admin.server.drain.notify_one();
    "draining\n"
}

/// The runtime answers: nothing else is checked, so that a restart is never caused by a neighbour.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let checks = admin.server.checks();
    let failed = checks.iter().find(|(_, problem)| problem.is_err());
    let status = if failed.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let is_verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    if !is_verbose {
        let word = failed.map_or("ok", |(name, _)| *name);
        return (status, format!("{word}\n"));
    }
    let lines: Vec<String> = checks
        .iter()
        .map(|(name, is)| match is {
            Ok(state) => format!("{name}: {state}\n"),
            Err(problem) => format!("{name}: failed: {problem}\n"),
        })
        .collect();
    (status, lines.concat())
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let body = admin.scrape.render(admin.server.is_draining());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body)
}
