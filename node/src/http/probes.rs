//! The probe paths that Pusher-like servers have on the client port.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::json;

use crate::metrics::memory;
use crate::server::Server;

use super::channels::answer;

/// `GET /`: the process answers.
pub(super) async fn alive() -> &'static str {
    "OK"
}

/// `GET /ready`, `/up` and `/accept-traffic`: whether new clients should come here.
pub(super) async fn ready(State(server): State<Arc<Server>>) -> (StatusCode, &'static str) {
    if server.is_ready() {
        (StatusCode::OK, "OK")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    }
}

/// `GET /usage`: memory, in the form that soketi's users read.
pub(super) async fn usage() -> impl IntoResponse {
    let (used, total) = memory();
    let percent = if total > 0.0 { used / total * 100.0 } else { 0.0 };
    let free = (total - used).max(0.0);
    answer(&json!({ "memory": { "free": free, "used": used, "total": total, "percent": percent } }))
}
