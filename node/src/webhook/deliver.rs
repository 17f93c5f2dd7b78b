//! One attempt to deliver a webhook: a POST that resolves names once, connects only to addresses it
//! may reach, follows no redirect, and waits four seconds at most.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proto::App;
use proto::app::Webhook;
use proto::http::webhook::signature;
use tokio::time::timeout;

use super::guard::{GuardedResolver, Reach, UrlError, check_url};

/// How long one attempt may take: Pusher waits as long.
const ATTEMPT: Duration = Duration::from_secs(4);
/// Bytes of an answer that are read, so that the connection can be used again.
const ANSWER_BYTES_MAX: usize = 65_536;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error("the answer was {0}, a 2xx was expected")]
    Status(StatusCode),
    #[error("no answer within 4 s")]
    Timeout,
    #[error("the request could not be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the connection failed: {}", chain(.0))]
    Connection(#[from] legacy::Error),
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl DeliveryError {
    /// Whether the same request could succeed later.
    pub(super) const fn is_worth_retrying(&self) -> bool {
        !matches!(self, Self::Url(_) | Self::Request(_))
    }
}

type Http = legacy::Client<HttpsConnector<HttpConnector<GuardedResolver>>, Full<Bytes>>;

/// The HTTP clients: one that may only reach global addresses, one that may reach any.
#[derive(Clone, Debug)]
pub(super) struct Client {
    global: Http,
    any: Http,
}

impl Client {
    pub(super) fn new() -> Self {
        Self { global: http(Reach::Global), any: http(Reach::Any) }
    }

    /// Posts a body, signed, with the ids of the events in it.
    pub(super) async fn post(
        &self,
        app: &App,
        webhook: &Webhook,
        (ids, body): (&str, &str),
    ) -> Result<(), DeliveryError> {
        let reach = if webhook.allow_private_address { Reach::Any } else { Reach::Global };
        let uri: Uri = check_url(&webhook.url, reach)?;
        let mut request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("handbell/", env!("CARGO_PKG_VERSION")))
            .header("X-Pusher-Key", &app.key)
            .header("X-Pusher-Signature", signature(app, body))
            .header("Handbell-Event-Ids", ids);
        for (name, value) in &webhook.headers {
            request = request.header(name, value.expose());
        }
        let request = request.body(Full::from(body.to_owned()))?;
        let client = match reach {
            Reach::Global => &self.global,
            Reach::Any => &self.any,
        };
        let answer = timeout(ATTEMPT, client.request(request));
        let answer = answer.await.map_err(|_| DeliveryError::Timeout)??;
        let status = answer.status();
        // The status decides. The content is read so that the connection can be used again; one
        // that is too long or too slow only costs the connection.
        let content = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let _ = timeout(ATTEMPT, content).await;
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Status(status)) }
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
