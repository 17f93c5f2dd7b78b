//! `handbell publish`.

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::{Target, client};

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The channel.
    channel: String,
    /// The event's name.
    event: String,
    /// The data; sent as it is.
    #[arg(default_value = "{}")]
    data: String,
    /// A connection that shall not get the event.
    #[arg(long)]
    socket_id: Option<String>,
    /// A key under which a repetition takes effect once.
    #[arg(long)]
    idempotency_key: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Publish {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut body = json!({ "name": self.event, "channel": self.channel, "data": self.data });
        // What an answer can tell depends on the kind of channel.
        let info = if self.channel.starts_with("presence-") {
            "subscription_count,user_count"
        } else {
            "subscription_count"
        };
        body["info"] = info.into();
        for (name, value) in
            [("socket_id", &self.socket_id), ("idempotency_key", &self.idempotency_key)]
        {
            if let Some(value) = value {
                body[name] = value.as_str().into();
            }
        }
        let path = format!("/apps/{}/events", self.target.app_id);
        println!("{}", client::send(&self.target, Method::POST, &path, body.to_string()).await?);
        Ok(())
    }
}
