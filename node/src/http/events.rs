//! Publishing: `POST /events`, `POST /batch_events`, and the deprecated form of one channel.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use proto::channel::{Command, Published};
use proto::cluster::slot::StableHash;
use proto::event::{Draft, Origin, Priority};
use proto::http::request::{Item, PublishRequest, check_key, legacy_event};
use proto::idempotency::ItemKey;
use proto::quota::Demand;
use proto::{App, ChannelKey, Refusal};
use serde_json::{Map, Value, json};

use crate::channel::published;
use crate::server::Server;

use super::auth::{Authentic, authenticate};
use super::channels::answer;
use super::error::HttpError;

/// The header that says which acknowledgement was reached, and asks for one.
const ACK: &str = "handbell-ack";
/// What a single node reaches: the owner has given the event its place and sent it on its way.
const SEQUENCED: &str = "sequenced";

/// `POST /apps/{id}/events`.
pub(super) async fn event(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let request = PublishRequest::event(&authentic.body, &authentic.entry.app)?;
    let items = publish(&server, &authentic, &request).await?;
    let channels: Map<String, Value> = items.into_iter().flatten().collect();
    let is_asked = channels.values().any(|info| info != &json!({}));
    let body = if is_asked { json!({ "channels": channels }) } else { json!({}) };
    Ok(acknowledged(StatusCode::OK, &body))
}

/// `POST /apps/{id}/batch_events`.
pub(super) async fn batch(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let request = PublishRequest::batch(&authentic.body, &authentic.entry.app)?;
    let items = publish(&server, &authentic, &request).await?;
    let infos: Vec<Value> = items.into_iter().flatten().map(|(_, info)| info).collect();
    let is_asked = infos.iter().any(|info| info != &json!({}));
    let body = if is_asked { json!({ "batch": infos }) } else { json!({}) };
    Ok(acknowledged(StatusCode::OK, &body))
}

/// `POST /apps/{id}/channels/{channel}/events`, deprecated since 2012 and still called.
pub(super) async fn legacy(
    State(server): State<Arc<Server>>,
    Path((id, channel)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let Authentic { entry, query, body, .. } = &authentic;
    let request = legacy_event(&entry.app, &channel, query, body)?;
    publish(&server, &authentic, &request).await?;
    Ok(acknowledged(StatusCode::ACCEPTED, &json!({})))
}

fn acknowledged(status: StatusCode, body: &Value) -> Response<Body> {
    (status, [(ACK, SEQUENCED)], answer(body)).into_response()
}

/// Publishes every item to every one of its channels, and returns what was asked about each.
async fn publish(
    server: &Server,
    authentic: &Authentic,
    request: &PublishRequest,
) -> Result<Vec<Vec<(String, Value)>>, HttpError> {
    let Authentic { entry, headers, body, .. } = authentic;
    check_ack(headers)?;
    let app = &entry.app;
    let count = request.publishes();
    if let Err(error) = server.router.admit(&app.id, Demand::Publishes(count)) {
        entry.metrics.rate_limited("publishes");
        return Err(Refusal::from(error).into());
    }
    let key = idempotency_key(headers, request)?;
    if let Some(key) = &key {
        let fingerprint = fingerprint(body);
        server.router.claim(&app.id, key, fingerprint).map_err(Refusal::from)?;
    }
    // All are on their way, in order, before the first answer is waited for.
    let asked: Vec<_> = (0..)
        .zip(&request.items)
        .map(|(index, item)| join_all(publish_item(server, app, item, key.as_deref(), index)))
        .collect();
    let mut answers = Vec::with_capacity(asked.len());
    for (asked, item) in asked.into_iter().zip(&request.items) {
        let published: Vec<Published> = asked.await.into_iter().collect::<Result<_, _>>()?;
        let infos = item
            .channels
            .iter()
            .zip(&published)
            .map(|(channel, published)| (channel.to_string(), info(item, channel, published)));
        answers.push(infos.collect());
    }
    entry.metrics.published_rest.increment(u64::from(count));
    Ok(answers)
}

fn publish_item<'a>(
    server: &'a Server,
    app: &'a App,
    item: &'a Item,
    key: Option<&'a str>,
    index: u32,
) -> impl Iterator<Item = impl Future<Output = Result<Published, Refusal>> + use<>> + use<'a> {
    item.channels.iter().map(move |channel| {
        let channel = ChannelKey { app: app.id.clone(), channel: channel.clone() };
        let draft = Draft {
            id: server.event_id(),
            event: item.event.clone(),
            origin: Origin::Api { except: item.except },
            ttl_seconds: 0,
            priority: Priority::default(),
        };
        let item =
            key.map(|key| ItemKey { channel: channel.clone(), key: key.to_owned(), item: index });
        let asked = server.router.ask(channel, Command::Publish(draft), item);
        async move { published(asked.await?) }
    })
}

fn info(item: &Item, channel: &proto::ChannelName, published: &Published) -> Value {
    let mut info = Map::new();
    if item.info.user_count && channel.kind().is_presence() {
        info.insert("user_count".into(), published.members.into());
    }
    if item.info.subscription_count {
        info.insert("subscription_count".into(), published.subscribers.into());
    }
    Value::Object(info)
}

/// A level that is asked for by name is met or refused, never quietly lowered.
fn check_ack(headers: &HeaderMap) -> Result<(), HttpError> {
    match headers.get(ACK).map(|level| level.as_bytes()) {
        None | Some(b"accepted" | b"sequenced") => Ok(()),
        Some(b"replicated") => Err(HttpError::unavailable(
            "a single node cannot reach `replicated`: there is no second node to hold the event",
        )),
        Some(_) => Err(HttpError::bad_request(
            "the Handbell-Ack header is accepted, sequenced or replicated",
        )),
    }
}

fn idempotency_key(
    headers: &HeaderMap,
    request: &PublishRequest,
) -> Result<Option<String>, HttpError> {
    let header = ["idempotency-key", "x-idempotency-key"]
        .iter()
        .find_map(|name| headers.get(*name))
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| HttpError::bad_request("the idempotency key is not plain text"))?;
    let from_header = check_key(header)?;
    Ok(request.idempotency_key.clone().or(from_header))
}

fn fingerprint(body: &[u8]) -> u64 {
    let mut hash = StableHash::default();
    hash.write(body);
    hash.finish()
}
