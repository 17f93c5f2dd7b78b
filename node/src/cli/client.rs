//! One signed request to the HTTP API, for the commands that make one.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proto::app::Secret;
use proto::http::signature::signed_query;
use tokio::time::timeout;

use crate::clock::unix_ms;
use crate::router::DEADLINE;

use super::Target;

/// Sends a request and returns the body of a 2xx answer.
pub(super) async fn send(
    target: &Target,
    method: Method,
    path: &str,
    body: String,
) -> anyhow::Result<String> {
    let secret = target.secret();
    let signed = (method.as_str(), path, body.as_bytes());
    let query = signed_query((&target.key, &secret), signed, &[], unix_ms() / 1000);
    let uri = format!("{}{path}?{query}", target.url.trim_end_matches('/'));
    let (status, text) = exchange(method, &uri, body, None).await?;
    if !status.is_success() {
        bail!("{} answered {status}: {text}", target.url);
    }
    Ok(text)
}

/// Sends a request, with a bearer token if there is one, and returns the status and the body.
pub(super) async fn exchange(
    method: Method,
    uri: &str,
    body: String,
    token: Option<&Secret>,
) -> anyhow::Result<(StatusCode, String)> {
    let connector =
        HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let mut request =
        Request::builder().method(method).uri(uri).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.expose()));
    }
    let request = request.body(Full::from(body))?;
    let host = uri.split('?').next().unwrap_or_default().to_owned();
    let exchange = async {
        let answer =
            client.request(request).await.with_context(|| format!("cannot reach {host}"))?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    timeout(DEADLINE, exchange).await.with_context(|| format!("{host} did not answer in time"))?
}
