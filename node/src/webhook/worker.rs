//! One worker for each address: it gathers what happens within a moment, posts it, and tries again
//! with longer and longer pauses for five minutes (as Pusher does), then drops it and says so.

use std::sync::Arc;
use std::time::Duration;

use proto::app::Webhook;
use proto::http::webhook::body;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::apps::AppEntry;
use crate::outgoing::Client;

use super::deliver::post;
use super::queue::{Pending, Queue};
use super::{Address, Webhooks};

/// How long events are gathered into one request.
const GATHER_FOR: Duration = Duration::from_millis(50);
/// How long a delivery is tried.
const TRY_FOR: Duration = Duration::from_secs(300);
/// The pause after the first failure; each further one is twice as long, up to [`PAUSE_MAX`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The workers of all addresses.
#[derive(Debug)]
pub(crate) struct Workers {
    webhooks: Webhooks,
    client: Client,
    tasks: JoinSet<()>,
}

impl Workers {
    pub(super) fn new(webhooks: Webhooks) -> Self {
        Self { webhooks, client: Client::new(), tasks: JoinSet::new() }
    }

    /// Starts the worker of an address.
    pub(super) fn serve(&mut self, address: Address, queue: Arc<Queue>) {
        while self.tasks.try_join_next().is_some() {}
        let (webhooks, client) = (self.webhooks.clone(), self.client.clone());
        self.tasks.spawn(async move {
            loop {
                queue.arrived().await;
                sleep(GATHER_FOR).await;
                let batch = queue.take();
                let is_configured = deliver(&webhooks, &client, &address, batch).await;
                if !is_configured {
                    webhooks.forget(&address);
                    let events = queue.pending().0;
                    let app = &address.app;
                    tracing::warn!(%app, url = %address.url, events, "a webhook was removed and what waited for it was dropped");
                    return;
                }
                queue.done();
            }
        });
    }
}

/// Delivers a batch or drops it. False if no webhook has this address any more.
async fn deliver(
    webhooks: &Webhooks,
    client: &Client,
    address: &Address,
    batch: Vec<Pending>,
) -> bool {
    let Some(first) = batch.first() else {
        return true;
    };
    let (count, time_ms) = (batch.len() as u64, first.unix_ms);
    let ids: Vec<&str> = batch.iter().map(|pending| pending.id.as_str()).collect();
    let ids = ids.join(",");
    let events: Vec<_> = batch.iter().map(|pending| pending.event.clone()).collect();
    let body = body(time_ms, &events);
    let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        // The configuration may have changed since the last attempt.
        let Some(entry) = webhooks.entry(address) else {
            return false;
        };
        let Some(webhook) = configured(&entry, address) else {
            return false;
        };
        let attempt = Instant::now();
        let outcome = post(client, &entry.app, webhook, (&ids, &body)).await;
        entry.metrics.webhook_took(attempt.elapsed().as_secs_f64());
        let Err(error) = outcome else {
            entry.metrics.webhook("delivered", count);
            return true;
        };
        let app = &address.app;
        if !error.is_worth_retrying() || began.elapsed() + pause > TRY_FOR {
            entry.metrics.webhook("dropped_failed", count);
            tracing::error!(%app, url = %address.url, %error, events = count, "webhook events were dropped");
            return true;
        }
        entry.metrics.webhook("retried", count);
        tracing::warn!(%app, url = %address.url, %error, ?pause, "a webhook failed and will be tried again");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn configured<'a>(entry: &'a AppEntry, address: &Address) -> Option<&'a Webhook> {
    entry.app.webhooks.iter().find(|webhook| webhook.url == address.url)
}
