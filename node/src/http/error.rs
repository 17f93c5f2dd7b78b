//! Refusals of the HTTP API: one JSON shape, and the one table from refusals to statuses.
//!
//! `{"error":"what is wrong","code":"word","status":400}`

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use proto::Refusal;
use proto::http::signature::SignatureError;
use proto::json::push_string;

/// A request that was turned down.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    retry_after_seconds: Option<u64>,
}

impl HttpError {
    /// An error with its status, a word for programs and a text for people.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, message: message.into(), retry_after_seconds: None }
    }

    /// 400.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 401.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// What a visitor is told that a door of tokens refuses: 403 where the token does not allow it.
    pub fn of_visitor(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthorized(word) => Self::new(StatusCode::FORBIDDEN, word, "Forbidden"),
            refusal => refusal.into(),
        }
    }

    /// 404.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405.
    pub fn method_not_allowed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// 503, with the advice to come back in a second.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        Self { retry_after_seconds: Some(1), ..error }
    }
}

impl From<SignatureError> for HttpError {
    fn from(error: SignatureError) -> Self {
        Self::unauthorized(error.to_string())
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Unavailable => Self::unavailable(message),
            Refusal::RateLimited { retry_after, .. } => Self {
                // A second too early would be refused again.
                retry_after_seconds: Some(retry_after.as_micros().div_ceil(1_000_000) as u64),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
            },
            Refusal::TooLarge { setting: "event_bytes" | "request_bytes", .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
            }
            Refusal::TooMany { setting: "channels" | "connections", .. } => {
                Self::new(StatusCode::FORBIDDEN, "over_quota", message)
            }
            Refusal::Disabled { .. } => Self::new(StatusCode::FORBIDDEN, "disabled", message),
            Refusal::Unauthorized(_) => Self::unauthorized(message),
            Refusal::Name(_)
            | Refusal::SocketId(_)
            | Refusal::TooLarge { .. }
            | Refusal::TooMany { .. }
            | Refusal::PresenceFull { .. }
            | Refusal::UnknownChannel
            | Refusal::Rule(_)
            | Refusal::Malformed(_)
            | Refusal::KeyReused => Self::bad_request(message),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response<Body> {
        let mut body = String::from(r#"{"error":"#);
        push_string(&mut body, &self.message);
        body.push_str(r#","code":"#);
        push_string(&mut body, self.code);
        body.push_str(r#","status":"#);
        body.push_str(self.status.as_str());
        body.push('}');
        let mut response =
            (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
