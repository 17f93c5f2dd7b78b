//! Counts and times every request, by the template of its route.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::middleware::Next;

use crate::metrics::Route;
use crate::server::Server;

/// Runs a request and counts it.
pub(super) async fn count(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let route = Route::of(request.uri().path());
    let began = Instant::now();
    let response = next.run(request).await;
    let (code, seconds) = (response.status().as_u16(), began.elapsed().as_secs_f64());
    server.http_metrics.count(route, code, seconds);
    response
}
