//! Cross-origin requests to the HTTP API: allowed for the pages that may connect to the app. There
//! are no cookies here, so credentials are never allowed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;

use crate::server::Server;

/// Answers preflight requests, and tells browsers that they may show an answer to the page.
pub(super) async fn allow(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let is_allowed = is_allowed(&server, request.uri().path(), &origin);
    let is_preflight = request.method() == Method::OPTIONS && is_allowed;
    let mut response = if is_preflight { preflight() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if is_allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn is_allowed(server: &Server, path: &str, origin: &HeaderValue) -> bool {
    let id = path.strip_prefix("/apps/").and_then(|rest| rest.split('/').next());
    let entry = id.and_then(|id| server.apps.by_id(id));
    entry.is_some_and(|entry| entry.app.allows_origin(Some(origin.to_str().unwrap_or("null"))))
}

fn preflight() -> Response<Body> {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "content-type, idempotency-key, handbell-ack"),
        (ACCESS_CONTROL_MAX_AGE, "3600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
