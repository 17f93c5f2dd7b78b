//! Publishing: `POST /events`, `POST /batch_events`, and the deprecated form of one channel.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proto::channel::{Command, Published, Reply};
use proto::cluster::slot::StableHash;
use proto::event::{Draft, Origin, Priority};
use proto::http::request::{Info, Item, PublishRequest, check_key, legacy_event};
use proto::idempotency::ItemKey;
use proto::quota::Demand;
use proto::{App, ChannelKey, ChannelName, Refusal};
use serde_json::{Map, Value, json};

use crate::channel::published;
use crate::router::RouteError;
use crate::server::Server;

use super::auth::{Authentic, authenticate};
use super::error::HttpError;

/// The header that says which acknowledgement was reached, and asks for one.
const ACK: &str = "handbell-ack";
/// The answer to a publish that asked for nothing: SDKs compare it with `{}`.
const NOTHING: &str = "{}";
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
    let answers = publish(&server, &authentic, &request).await?;
    let item = &request.items[0];
    if item.info == Info::default() {
        return Ok(acknowledged(StatusCode::OK, NOTHING));
    }
    let channels: Map<String, Value> = item
        .channels
        .iter()
        .zip(&answers)
        .map(|(channel, published)| (channel.to_string(), info(item, channel, published)))
        .collect();
    Ok(acknowledged(StatusCode::OK, json!({ "channels": channels }).to_string()))
}

/// `POST /apps/{id}/batch_events`.
pub(super) async fn batch(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let request = PublishRequest::batch(&authentic.body, &authentic.entry.app)?;
    let answers = publish(&server, &authentic, &request).await?;
    if request.items.iter().all(|item| item.info == Info::default()) {
        return Ok(acknowledged(StatusCode::OK, NOTHING));
    }
    // An event of a batch has one channel.
    let infos: Vec<Value> = request
        .items
        .iter()
        .zip(&answers)
        .map(|(item, published)| info(item, &item.channels[0], published))
        .collect();
    Ok(acknowledged(StatusCode::OK, json!({ "batch": infos }).to_string()))
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
    Ok(acknowledged(StatusCode::ACCEPTED, NOTHING))
}

fn acknowledged(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACK, HeaderValue::from_static(SEQUENCED));
    response
}

/// Publishes every item to every one of its channels, and returns the answers in that order.
async fn publish(
    server: &Server,
    authentic: &Authentic,
    request: &PublishRequest,
) -> Result<Vec<Published>, HttpError> {
    let Authentic { entry, headers, body, .. } = authentic;
    check_ack(headers)?;
    let app = &entry.app;
    let count = request.publishes();
    if let Err(error) = server.router.admit(app, Demand::Publishes(count)) {
        entry.metrics.rate_limited("publishes");
        return Err(Refusal::from(error).into());
    }
    let key = idempotency_key(headers, request)?;
    if let Some(key) = &key {
        let fingerprint = fingerprint(&authentic.path, body);
        server.router.claim(&app.id, key, fingerprint).map_err(Refusal::from)?;
    }
    // All are on their way, in order, before the first answer is waited for.
    let mut asked = Vec::with_capacity(count as usize);
    for (index, item) in (0..).zip(&request.items) {
        for channel in &item.channels {
            asked.push(ask(server, app, (item, index), channel, key.as_deref()));
        }
    }
    let mut answers = Vec::with_capacity(asked.len());
    for answer in asked {
        answers.push(published(answer.await.map_err(Refusal::from)?)?);
    }
    entry.metrics.published_rest.increment(u64::from(count));
    Ok(answers)
}

fn ask(
    server: &Server,
    app: &App,
    (item, index): (&Item, u32),
    channel: &ChannelName,
    key: Option<&str>,
) -> impl Future<Output = Result<Reply, RouteError>> + use<> {
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
    server.router.ask(channel, Command::Publish(draft), item)
}

fn info(item: &Item, channel: &ChannelName, published: &Published) -> Value {
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

/// The path and the whole body: the deprecated calls name the channel in their path.
fn fingerprint(path: &str, body: &[u8]) -> u64 {
    let mut hash = StableHash::default();
    hash.write(path.as_bytes());
    hash.write(&[0]);
    hash.write(body);
    hash.finish()
}
