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
        .with_state(admin)
}

/// The runtime answers: nothing else is checked, so that a restart is never caused by a neighbour.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let is_draining = admin.server.is_draining();
    let status = if is_draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let checks = [
        ("listening", "ok"),
        ("draining", if is_draining { "failed: the node is shutting down" } else { "ok" }),
        ("ack", "sequenced (a single node)"),
    ];
    let is_verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    if !is_verbose {
        return (status, if is_draining { "draining\n".into() } else { "ok\n".into() });
    }
    let lines: Vec<String> = checks.iter().map(|(name, is)| format!("{name}: {is}\n")).collect();
    (status, lines.concat())
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let body = admin.scrape.render(admin.server.is_draining());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body)
}
