//! Who a request comes from, at the doors that take tokens: the app, and the visitor.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use proto::Refusal;
use proto::token::{claimed_app, strip_bearer};
use proto::visitor::Visitor;

use crate::apps::AppEntry;
use crate::http::error::HttpError;
use crate::listen::Peer;
use crate::server::Server;

/// The parameters of a URL. A name may stand there more than once.
#[derive(Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Those of a URL.
    #[must_use]
    pub fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// All values of a name, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a request shows of who makes it.
#[derive(Debug)]
pub struct Asking<'a> {
    headers: &'a HeaderMap,
    parameters: Parameters,
    is_tls: bool,
}

impl<'a> Asking<'a> {
    /// Looks at a request.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let is_tls = request.extensions().get::<Peer>().is_some_and(|peer| peer.is_tls);
        Self { headers: request.headers(), parameters: Parameters::of(request.uri()), is_tls }
    }
}

/// Finds out who makes a request. Without a token it is anyone.
///
/// # Errors
/// 401 for a token that is not in order, 403 for a page of another origin, and what is wrong with the
/// app.
pub async fn let_in(
    server: &Server,
    asking: Asking<'_>,
) -> Result<(Arc<AppEntry>, Visitor), HttpError> {
    let Asking { headers, parameters, is_tls } = asking;
    let token = token(headers, &parameters)?;
    let entry = app_of(server, token, &parameters)?;
    let app = &entry.app;
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
    if !app.enabled {
        return Err(Refusal::Disabled { feature: "this app", setting: "enabled" }.into());
    }
    if app.tls_only && !is_tls {
        let message = "this app only takes TLS connections";
        return Err(HttpError::new(StatusCode::FORBIDDEN, "tls_only", message));
    }
    if !app.allows_origin(origin) {
        let message = "pages of this origin may not connect to this app";
        return Err(HttpError::new(StatusCode::FORBIDDEN, "origin", message));
    }
    let Some(token) = token else {
        return Ok((entry, Visitor::anyone()));
    };
    let verified = entry.verify_token(token).await.map_err(|error| {
        entry.metrics.auth_failed("token");
        HttpError::unauthorized(format!("Authentication failed: {error}"))
    })?;
    Ok((entry, Visitor::with(verified)))
}

/// As [`let_in`], where everyone needs a token.
///
/// # Errors
/// As [`let_in`], and 401 without a token.
pub async fn let_user_in(
    server: &Server,
    asking: Asking<'_>,
) -> Result<(Arc<AppEntry>, Visitor), HttpError> {
    let (entry, visitor) = let_in(server, asking).await?;
    match visitor.user() {
        Some(_) => Ok((entry, visitor)),
        None => Err(HttpError::unauthorized(
            "Authentication failed: a token is missing (`Authorization: Bearer …` or `?token=`)",
        )),
    }
}

/// The app whose pages a request's answer may be shown to, before anything of it is believed.
#[must_use]
pub fn claimed<B>(server: &Server, request: &Request<B>) -> Option<Arc<AppEntry>> {
    let parameters = Parameters::of(request.uri());
    let token = token(request.headers(), &parameters).ok()?;
    app_of(server, token, &parameters).ok()
}

fn token<'a>(
    headers: &'a HeaderMap,
    parameters: &'a Parameters,
) -> Result<Option<&'a str>, HttpError> {
    let header = headers.get(AUTHORIZATION).map(|header| header.to_str()).transpose();
    let header = header.map_err(|_| HttpError::unauthorized("the token is not plain text"))?;
    Ok(header.or_else(|| parameters.get("token")).map(strip_bearer))
}

/// The app that the token is for, else the one whose key stands in the URL, else the only one.
fn app_of(
    server: &Server,
    token: Option<&str>,
    parameters: &Parameters,
) -> Result<Arc<AppEntry>, HttpError> {
    let claimed = token.and_then(claimed_app);
    if let Some(key) = claimed.as_deref().or_else(|| parameters.get("app")) {
        let entry = server.apps.by_key(key);
        return entry.ok_or_else(|| HttpError::unauthorized("no app has this key"));
    }
    match server.apps.all().as_slice() {
        [only] => Ok(Arc::clone(only)),
        _ => Err(HttpError::bad_request(
            "there are several apps: say which with `?app=` and its key, or with `app` in the token",
        )),
    }
}
