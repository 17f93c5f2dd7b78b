//! The admin port: health for Kubernetes and metrics for Prometheus. Never the client port.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

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
}

/// The routes of the admin port.
pub fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/cluster", get(cluster::status))
        .route("/cluster/owner", get(cluster::owner))
        .route("/cluster/channel", get(cluster::channel))
        .with_state(admin)
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
