//! `handbell health`, for container probes that have no curl.

use anyhow::bail;
use clap::Args;
use hyper::Method;

use super::client::exchange;

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Address of the admin port.
    #[arg(long, env = "HANDBELL_ADMIN_URL", default_value = "http://127.0.0.1:9601")]
    url: String,
}

impl Health {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let uri = format!("{}/readyz?verbose", self.url.trim_end_matches('/'));
        let (status, text) = exchange(Method::GET, &uri, String::new(), None).await?;
        print!("{text}");
        if !status.is_success() {
            bail!("the node is not ready ({status})");
        }
        Ok(())
    }
}
