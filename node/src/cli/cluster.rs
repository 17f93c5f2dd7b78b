//! `handbell cluster status` and `handbell drain`.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use hyper::Method;
use proto::app::Secret;
use serde_json::Value;

use super::client::exchange;

/// Where the admin port is.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminTarget {
    /// Address of the admin port.
    #[arg(long, env = "HANDBELL_ADMIN_URL", default_value = "http://127.0.0.1:9601")]
    url: String,
    /// The token of the admin port (`admin.token`), if the node is on another machine.
    #[arg(long, env = "HANDBELL_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the nodes, who owns how much, and how the links between them do, as one node sees it.
    Status {
        #[command(flatten)]
        target: AdminTarget,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Make a node give its channels and connections away and stop, as SIGTERM does.
#[derive(Debug, Args)]
pub(super) struct Drain {
    #[command(flatten)]
    target: AdminTarget,
}

impl AdminTarget {
    async fn ask(&self, method: Method, path: &str) -> anyhow::Result<String> {
        let uri = format!("{}{path}", self.url.trim_end_matches('/'));
        let token = self.token.clone().map(Secret::new);
        let (status, text) = exchange(method, &uri, String::new(), token.as_ref()).await?;
        if !status.is_success() {
            bail!("{uri} answered {status}: {text}");
        }
        Ok(text)
    }
}

impl ClusterCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::Status { target, json } = self;
        let text = target.ask(Method::GET, "/cluster").await?;
        let status: Value = serde_json::from_str(&text).context("the answer is not JSON")?;
        if json {
            println!("{}", serde_json::to_string_pretty(&status)?);
        } else {
            print!("{}", table(&status));
        }
        Ok(())
    }
}

impl Drain {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        print!("{}", self.target.ask(Method::POST, "/drain").await?);
        Ok(())
    }
}

/// The status for a person.
fn table(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (me, hash) = (text(&status["node"]["id"]), text(&status["view"]["hash"]));
    let mut out = format!(
        "{me} sees view {hash}: {} of {} slots and {} channels are its own, {} channels are copies\n\n",
        text(&status["slots_owned"]),
        text(&status["slots_total"]),
        text(&status["channels_owned"]),
        text(&status["copies"]),
    );
    out += &format!(
        "{:<20} {:<9} {:>6} {:>8} {:>9} {:>10}  {}\n",
        "NODE", "PHASE", "SLOTS", "LINK", "RTT ms", "BACKLOG", "SAME VIEW"
    );
    for member in list(&status["view"]["members"]) {
        let id = text(&member["id"]);
        let of = |all: &Value, name: &str| {
            list(all).into_iter().find(|one| text(&one[name]) == id).unwrap_or_default()
        };
        let (link, other) = (of(&status["links"], "peer"), of(&status["others"], "id"));
        let is_same = match &other["view_hash"] {
            Value::String(theirs) => {
                if *theirs == hash {
                    "yes"
                } else {
                    "no"
                }
            }
            _ => "itself",
        };
        #[allow(clippy::cast_precision_loss)]
        let trip = link["rtt_us"]
            .as_u64()
            .map_or("-".to_owned(), |micros| format!("{:.2}", micros as f64 / 1000.0));
        out += &format!(
            "{id:<20} {:<9} {:>6} {:>8} {trip:>9} {:>10}  {is_same}\n",
            text(&member["phase"]),
            text(&member["slots"]),
            text(&link["state"]),
            text(&link["backlog_bytes"]),
        );
    }
    if let Value::String(reason) = &status["rejected"] {
        out += &format!("\nother nodes will not have this one: {reason}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_person_sees_who_owns_what_and_whether_all_agree() {
        let status = json!({
            "node": { "id": "a" }, "slots_owned": 2048, "slots_total": 4096,
            "channels_owned": 3, "copies": 2,
            "view": { "hash": "ff", "members": [
                { "id": "a", "phase": "serving", "slots": 2048 },
                { "id": "b", "phase": "serving", "slots": 2048 },
            ]},
            "links": [{ "peer": "b", "state": "up", "rtt_us": 250, "backlog_bytes": 0 }],
            "others": [{ "id": "b", "view_hash": "fe" }],
        });
        let table = table(&status);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].contains("2048 of 4096 slots and 3 channels"), "{table}");
        assert!(lines[3].starts_with("a ") && lines[3].ends_with("itself"), "{table}");
        assert!(lines[4].contains("0.25") && lines[4].ends_with("no"), "{table}");
    }
}
