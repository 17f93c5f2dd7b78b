//! Counts and times every request, by the template of its route.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response};
use axum::middleware::Next;

use crate::server::Server;

/// Runs a request and counts it.
pub(super) async fn count(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let (route, method) = (template(request.uri().path()), word(request.method()));
    let began = Instant::now();
    let response = next.run(request).await;
    let (code, seconds) = (response.status().as_u16(), began.elapsed().as_secs_f64());
    server.metrics.http_request(route, method, code, seconds);
    response
}

const fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "other",
    }
}

fn template(path: &str) -> &'static str {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["apps", _, "events"] => "/apps/{id}/events",
        ["apps", _, "batch_events"] => "/apps/{id}/batch_events",
        ["apps", _, "channels"] => "/apps/{id}/channels",
        ["apps", _, "channels", _] => "/apps/{id}/channels/{channel}",
        ["apps", _, "channels", _, "users"] => "/apps/{id}/channels/{channel}/users",
        ["apps", _, "channels", _, "events"] => "/apps/{id}/channels/{channel}/events",
        ["apps", _, "channels", _, "stats"] => "/apps/{id}/channels/{channel}/stats",
        ["apps", _, "connections"] => "/apps/{id}/connections",
        [.., "terminate_connections"] => "/apps/{id}/users/{user}/terminate_connections",
        _ => "other",
    }
}
