//! HTTP to elsewhere, for webhooks and key sets: names are resolved once, only addresses that may
//! be reached are connected to, and no redirect is followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::webhook::guard::{GuardedResolver, Reach};

/// How long one attempt may take: Pusher waits as long for a webhook.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(4);

/// A client that keeps connections.
pub(crate) type Http = legacy::Client<HttpsConnector<HttpConnector<GuardedResolver>>, Full<Bytes>>;

/// A client that reaches so far.
pub(crate) fn http(reach: Reach) -> Http {
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
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
