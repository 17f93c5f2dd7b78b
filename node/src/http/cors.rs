//! Cross-origin requests: allowed for the pages that may connect to the app. Handbell has no cookies of
//! its own, so credentials are allowed only where the app wants to see them.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::response::IntoResponse;
use proto::App;

/// Whether the pages of an origin may read answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// They may not.
    No,
    /// They may.
    Yes,
    /// They may, and send cookies along.
    WithCredentials,
}

impl Allowed {
    /// Whether pages of an origin may read answers about an app.
    #[must_use]
    pub fn by(app: &App, origin: &str) -> Self {
        match (app.allows_origin(Some(origin)), app.backends().next()) {
            (false, _) => Self::No,
            (true, None) => Self::Yes,
            (true, Some(_)) => Self::WithCredentials,
        }
    }
}

/// What a browser asks for a page.
#[derive(Debug)]
pub struct PageRequest {
    /// The page's origin; none if it is no cross-origin request of a browser.
    origin: Option<HeaderValue>,
    allowed: Allowed,
    is_preflight: bool,
}

impl PageRequest {
    /// What a request asks for, where `allows` says which origins may.
    pub fn new(request: &Request, allows: impl FnOnce(&str) -> Allowed) -> Self {
        let origin = request.headers().get(ORIGIN).cloned();
        let allowed = origin.as_ref().map(|origin| allows(origin.to_str().unwrap_or("null")));
        let allowed = allowed.unwrap_or(Allowed::No);
        // A preflight uses a method that no route has.
        let is_preflight = allowed != Allowed::No && request.method() == Method::OPTIONS;
        Self { origin, allowed, is_preflight }
    }

    /// The answer, if it only asks whether it may ask.
    #[must_use]
    pub fn preflight(&self) -> Option<Response<Body>> {
        let headers = [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, content-type, idempotency-key, x-idempotency-key, handbell-ack, last-event-id",
            ),
            (ACCESS_CONTROL_MAX_AGE, "3600"),
        ];
        self.is_preflight.then(|| (StatusCode::NO_CONTENT, headers).into_response())
    }

    /// Tells the browser that it may show the answer to the page.
    pub fn allow(self, response: &mut Response<Body>) {
        let Some(origin) = self.origin else { return };
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("origin"));
        if self.allowed != Allowed::No {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if self.allowed == Allowed::WithCredentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}
