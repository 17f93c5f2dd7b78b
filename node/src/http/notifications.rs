//! Notifications: `POST /notifications`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use axum::response::IntoResponse;
use proto::channel::Command;
use proto::event::{Draft, Origin, Priority};
use proto::http::notification::{Notification, Target, event};
use proto::quota::Demand;
use proto::{ChannelKey, Refusal};
use serde_json::json;

use crate::channel::published;
use crate::clock::unix_ms;
use crate::server::Server;

use super::auth::authenticate;
use super::channels::answer;
use super::error::HttpError;

/// `POST /apps/{id}/notifications`.
pub(super) async fn notify(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<impl IntoResponse, HttpError> {
    let authentic = authenticate(&server, &id, request).await?;
    let app = &authentic.entry.app;
    let notification = Notification::parse(&authentic.body, app)?;
    if let Err(error) = server.quotas.admit(&app.id, Demand::Publishes(1)).await {
        authentic.entry.metrics.rate_limited("publishes");
        return Err(Refusal::from(error).into());
    }
    authentic.entry.metrics.published_rest.increment(1);
    let id = server.event_id();
    let text = notification.text(id, unix_ms());
    let told = match notification.target {
        Target::Channel(channel) => {
            let key = ChannelKey { app: app.id.clone(), channel };
            let (event, origin, priority) = (event(&text), Origin::Notice, Priority::default());
            let draft = Draft { id, event, origin, ttl_ms: 0, priority, retry: None };
            let asked = server.router.ask(key, Command::Publish(draft));
            published(asked.answer().await.map_err(Refusal::from)?)?.subscribers as u64
        }
        Target::Everyone => {
            server.router.notify(&app.id, text.into()).await.map_err(Refusal::from)?
        }
    };
    Ok(answer(&json!({ "id": format!("{id:032x}"), "delivered_to": told })))
}
