//! `handbell notify`.

use clap::{Args, ValueEnum};
use hyper::Method;
use serde_json::json;

use super::{Target, client};

#[derive(Debug, Args)]
pub(super) struct Notify {
    /// What to say.
    message: String,
    /// How much it matters.
    #[arg(long, value_enum, default_value_t = Level::Info)]
    level: Level,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Info,
    Warning,
    Error,
}

/// Who is told.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// All connections of a user.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The subscribers of a channel.
    #[arg(long)]
    channel: Option<String>,
    /// All connections of the app.
    #[arg(long)]
    everyone: bool,
}

impl Notify {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let level = match self.level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let To { user, channel, everyone } = self.to;
        let body = json!({
            "message": self.message,
            "level": level,
            "user": user,
            "channel": channel,
            "everyone": everyone,
        });
        let path = format!("/apps/{}/notifications", self.target.app_id);
        println!("{}", client::send(&self.target, Method::POST, &path, body.to_string()).await?);
        Ok(())
    }
}
