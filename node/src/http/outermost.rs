//! Around every request: it is counted and timed by the template of its route, the server names
//! itself, and pages of allowed origins may read the answer. One layer, because each costs a box.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::SERVER;
use axum::http::{HeaderValue, Response};
use axum::middleware::Next;

use crate::doors::visitors;
use crate::metrics::Route;
use crate::server::Server;

use super::cors::{Allowed, PageRequest};

/// Runs a request.
pub(super) async fn run(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let began = Instant::now();
    let route = Route::of(request.uri().path());
    let page = PageRequest::new(&request, |origin| allows(&server, &request, origin));
    let mut response = match page.preflight() {
        Some(answer) => answer,
        None => next.run(request).await,
    };
    page.allow(&mut response);
    response.headers_mut().insert(SERVER, HeaderValue::from_static("handbell"));
    if let Some(route) = route {
        let (code, seconds) = (response.status().as_u16(), began.elapsed().as_secs_f64());
        server.http_metrics.count(route, code, seconds);
    }
    response
}

/// Whether pages of an origin may use the app that a request is for: the path names it, or the token
/// or the query. At the Pusher door's fallback they hear that they may not in the answer itself.
fn allows(server: &Server, request: &Request, origin: &str) -> Allowed {
    let path = request.uri().path();
    let rest = path.strip_prefix(server.doors.fallback.path.as_str());
    if rest.is_some_and(|rest| rest.starts_with("/app/")) {
        return Allowed::Yes;
    }
    let path = path.strip_prefix("/apps/");
    let entry = match path.and_then(|rest| rest.split('/').next()) {
        Some(id) => server.apps.by_id(id),
        None => visitors::claimed(server, request),
    };
    entry.map_or(Allowed::No, |entry| Allowed::by(&entry.app, origin))
}
