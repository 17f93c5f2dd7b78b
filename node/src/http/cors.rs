//! Cross-origin requests: allowed for the pages that may connect to the app. There are no cookies
//! here, so credentials are never allowed.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::response::IntoResponse;

/// What a browser asks for a page.
#[derive(Debug)]
pub struct Asked {
    /// The page's origin; none if it is no cross-origin request of a browser.
    origin: Option<HeaderValue>,
    is_allowed: bool,
    is_preflight: bool,
}

impl Asked {
    /// What a request asks for, where `allows` says which origins may.
    pub fn new(request: &Request, allows: impl FnOnce(&str) -> bool) -> Self {
        let origin = request.headers().get(ORIGIN).cloned();
        let is_allowed = origin.as_ref().is_some_and(|o| allows(o.to_str().unwrap_or("null")));
        // A preflight uses a method that no route has.
        let is_preflight = is_allowed && request.method() == Method::OPTIONS;
        Self { origin, is_allowed, is_preflight }
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
        response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
        if self.is_allowed {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}
