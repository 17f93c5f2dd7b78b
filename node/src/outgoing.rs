//! Requests to elsewhere: webhooks, sets of keys, and questions to an application. Names are resolved
//! once, only addresses that may be reached are connected to, no redirect is followed, and neither
//! the time nor the size of an answer is without a bound.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

pub mod guard;

use guard::{GuardedResolver, Reach, UrlError, check_url};

/// How long one attempt may take: Pusher waits as long for a webhook.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(4);

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("handbell/", env!("CARGO_PKG_VERSION")));

type Http = legacy::Client<HttpsConnector<HttpConnector<GuardedResolver>>, Full<Bytes>>;

/// Why a request has no answer, or none of use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutgoingError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error("the request could not be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection failed: {}", chain(.0))]
    Connection(#[from] legacy::Error),
    #[error("the answer was {0}, a 2xx was expected; redirects are not followed")]
    Status(StatusCode),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer broke off: {0}")]
    Body(String),
}

impl OutgoingError {
    /// Whether the same request could succeed later.
    pub(crate) const fn is_worth_retrying(&self) -> bool {
        !matches!(self, Self::Url(_) | Self::Request(_))
    }
}

/// What an answer is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// From the first attempt to connect to the last byte.
    pub(crate) deadline: Duration,
    /// Bytes of its body.
    pub(crate) bytes: usize,
}

/// The HTTP clients, which keep connections: one that may only reach global addresses, one that may
/// reach any.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    global: Http,
    any: Http,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { global: http(Reach::Global), any: http(Reach::Any) }
    }

    /// Makes a request: `complete` adds headers and the body.
    pub(crate) async fn ask(
        &self,
        method: Method,
        (url, reach): (&str, Reach),
        bounds: Bounds,
        complete: impl FnOnce(Builder) -> hyper::http::Result<Request<Full<Bytes>>>,
    ) -> Result<Answer, OutgoingError> {
        let uri = check_url(url, reach)?;
        let builder = Request::builder().method(method).uri(uri).header(USER_AGENT, AGENT);
        let request = complete(builder)?;
        let client = match reach {
            Reach::Global => &self.global,
            Reach::Any => &self.any,
        };
        let until = Instant::now() + bounds.deadline;
        let response = timeout_at(until, client.request(request)).await;
        let response = response.map_err(|_| OutgoingError::Timeout(bounds.deadline))??;
        Ok(Answer { response, bounds, until })
    }
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub(crate) struct Answer {
    response: Response<Incoming>,
    bounds: Bounds,
    until: Instant,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Fails unless it is a success.
    pub(crate) fn expect_success(&self) -> Result<(), OutgoingError> {
        match self.status() {
            status if status.is_success() => Ok(()),
            status => Err(OutgoingError::Status(status)),
        }
    }

    /// Reads the body. One that is not read costs the connection.
    pub(crate) async fn body(self) -> Result<Bytes, OutgoingError> {
        let Self { response, bounds: Bounds { deadline, bytes }, until } = self;
        let body = Limited::new(response.into_body(), bytes).collect();
        let body = timeout_at(until, body).await.map_err(|_| OutgoingError::Timeout(deadline))?;
        match body {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(OutgoingError::TooLong(bytes)),
            Err(error) => Err(OutgoingError::Body(error.to_string())),
        }
    }
}

fn http(reach: Reach) -> Http {
    let mut connector = HttpConnector::new_with_resolver(GuardedResolver(reach));
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(ATTEMPT));
    let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_timer(TokioTimer::new())
        .build(https.wrap_connector(connector))
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
