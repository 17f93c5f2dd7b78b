//! Publishing and looking with a token, over HTTP: for clients that poll or listen to a stream, and for
//! workers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use proto::channel::{Command, Reply};
use proto::door::Post;
use proto::event::{Data, Event, Priority};
use proto::plain::frame;
use proto::{ChannelKey, Refusal};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::visitors::{Guest, Parameters};
use crate::http::channels::Answer;
use crate::http::error::HttpError;
use crate::http::{JSON, read_body};
use crate::publish;
use crate::server::Server;

/// What is published: by our names, or by those of an event bus (`type`, and a `timestamp` that says
/// nothing here).
#[derive(Debug, Deserialize)]
struct Posting {
    channel: String,
    #[serde(alias = "type")]
    event: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    id: Option<String>,
}

/// `POST /api/realtime/publish`.
///
/// # Errors
/// 401 without a valid token, 403 where it does not allow it, 400 for what cannot be read.
pub async fn publish(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Result<Answer, HttpError> {
    let guest = Guest::of(&server, &request)?;
    let body = read_body(request.into_body(), guest.app().limits.request_bytes).await?;
    let body: Posting = serde_json::from_slice(&body)
        .map_err(|error| HttpError::bad_request(format!("the body cannot be read: {error}")))?;
    let (entry, visitor) = guest.let_user_in("publish", &[&body.channel]).await?;
    let app = &entry.app;
    let channel = visitor.publish(app, &body.channel).map_err(HttpError::of_visitor)?;
    let data = body.data.as_deref().map_or("null", RawValue::get);
    app.check_event_data(data.len())?;
    let event = Event { name: app.event_name(&body.event)?, data: Data::Text(data.into()) };
    let user = visitor.user().cloned();
    let user = user.ok_or_else(|| HttpError::unauthorized("a token is missing"))?;
    Post::check_id(body.id.as_deref())?;
    let (ttl_ms, priority) = (0, Priority::default());
    let post = Post { user, event, id: body.id, ttl_ms, priority };
    let key = ChannelKey { app: app.id.clone(), channel: channel.clone() };
    let id = post.id.clone();
    match publish::post(&server, &entry, key, post).await? {
        Reply::Published(published) => {
            Ok((JSON, format!("{{{}", frame::accepted(&channel, id.as_deref(), &published))))
        }
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(Refusal::Unavailable.into()),
    }
}

/// `GET /api/realtime/presence?channel=`: who is there.
///
/// # Errors
/// As [`publish()`].
pub async fn presence(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Result<Answer, HttpError> {
    let guest = Guest::of(&server, &request)?;
    let parameters = Parameters::of(request.uri());
    let name = parameters.get("channel").unwrap_or_default();
    let (entry, visitor) = guest.let_user_in("presence", &[name]).await?;
    let (channel, _) = visitor.subscribe(&entry.app, name).map_err(HttpError::of_visitor)?;
    let key = ChannelKey { app: entry.app.id.clone(), channel: channel.clone() };
    let reply = server.router.ask(key, Command::Members).answer().await.map_err(Refusal::from)?;
    let Reply::Members(members) = reply else {
        return Err(Refusal::Unavailable.into());
    };
    let members = format!(r#","members":{}"#, frame::members(&members));
    Ok((JSON, format!("{{{}", frame::open("presence", &channel, &members))))
}
