//! One attempt to deliver a webhook: a POST that resolves names once, connects only to addresses it
//! may reach, follows no redirect, and waits four seconds at most.

use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy;
use proto::App;
use proto::app::Webhook;
use proto::http::webhook::signature;
use tokio::time::timeout;

use crate::outbound::{ATTEMPT, Http, chain, http};

use super::guard::{Reach, UrlError, check_url};

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

impl DeliveryError {
    /// Whether the same request could succeed later.
    pub(super) const fn is_worth_retrying(&self) -> bool {
        !matches!(self, Self::Url(_) | Self::Request(_))
    }
}

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
