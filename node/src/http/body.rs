//! Reading a request's body, as large and as slow as it may be.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use proto::Refusal;
use tokio::time::timeout;

use super::error::HttpError;

/// The slowest body that is waited for: a second for each KiB and five more, half a minute at most.
const BYTES_PER_SECOND_MIN: u64 = 1_024;
const BODY_GRACE_SECONDS: u64 = 5;
const BODY_SECONDS_MAX: u64 = 30;

/// Reads a body whole.
///
/// # Errors
/// 413 beyond `limit` bytes, 408 if it comes too slowly.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, HttpError> {
    let too_large = |bytes| {
        HttpError::from(Refusal::TooLarge {
            what: "the request body",
            bytes,
            limit,
            setting: "request_bytes",
        })
    };
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(too_large(usize::try_from(announced).unwrap_or(usize::MAX)));
    }
    let length = body.size_hint().upper().unwrap_or(limit as u64);
    let seconds = (BODY_GRACE_SECONDS + length / BYTES_PER_SECOND_MIN).min(BODY_SECONDS_MAX);
    match timeout(Duration::from_secs(seconds), Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit + 1)),
        Ok(Err(error)) => Err(HttpError::bad_request(format!("the body did not arrive: {error}"))),
        Err(_) => Err(HttpError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the body arrived too slowly",
        )),
    }
}
