//! Who a request comes from: the app in its path, its whole body, and its signature.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use proto::Refusal;
use proto::http::signature::{Query, Signed, verify};

use crate::apps::AppEntry;
use crate::clock::unix_ms;
use crate::listen::Peer;
use crate::server::Server;

use super::body::read_body;
use super::error::HttpError;

/// A request that was signed by its app.
#[derive(Debug)]
pub(super) struct Authentic {
    pub(super) entry: Arc<AppEntry>,
    pub(super) path: String,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Reads a request whole and checks its signature.
pub(super) async fn authenticate(
    server: &Server,
    id: &str,
    request: Request<Body>,
) -> Result<Authentic, HttpError> {
    let entry = server.apps.by_id(id);
    let entry = entry.ok_or_else(|| HttpError::not_found(format!("there is no app `{id}`")))?;
    check(entry, request).await
}

/// As [`authenticate`], for the app whose key signed the request.
pub(super) async fn authenticate_by_key(
    server: &Server,
    request: Request<Body>,
) -> Result<Authentic, HttpError> {
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    let entry = query.get("auth_key").and_then(|key| server.apps.by_key(key));
    let entry = entry.ok_or_else(|| HttpError::unauthorized("no app has this auth_key"))?;
    check(entry, request).await
}

async fn check(entry: Arc<AppEntry>, request: Request<Body>) -> Result<Authentic, HttpError> {
    let (parts, body) = request.into_parts();
    let body = read_body(body, entry.app.limits.request_bytes).await?;
    let authentic = Query::parse(parts.uri.query().unwrap_or_default()).and_then(|query| {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let signed = Signed { method, path, query: &query, body: &body };
        verify(&entry.app, signed, unix_ms() / 1000).map(|()| query)
    });
    let query = authentic.inspect_err(|_| entry.metrics.auth_failed("http"))?;
    let is_tls = parts.extensions.get::<Peer>().is_some_and(|peer| peer.is_tls);
    if entry.app.tls_only && !is_tls {
        let message = "this app only takes TLS connections";
        return Err(HttpError::new(StatusCode::FORBIDDEN, "tls_only", message));
    }
    if !entry.app.enabled {
        let refusal = Refusal::Disabled { feature: "this app", setting: "enabled" };
        return Err(refusal.into());
    }
    let path = parts.uri.path().to_owned();
    Ok(Authentic { entry, path, query, headers: parts.headers, body })
}
