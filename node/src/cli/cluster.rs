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
    let me = text(&status["node"]["id"]);
    let mut out = format!(
        "{me} sees view {}: {} of {} slots and {} channels are its own, {} channels are copies\n\n",
        text(&status["view"]["hash"]),
        text(&status["slots_owned"]),
        text(&status["slots_total"]),
        text(&status["channels_owned"]),
        text(&status["copies"]),
    );
    out += &format!(
        "{:<20} {:<9} {:<9} {:>6} {:>8} {:>9} {:>10}  {:<9}  {}\n",
        "NODE", "PHASE", "VERSION", "SLOTS", "LINK", "RTT ms", "BACKLOG", "SAME VIEW", "SAME APPS"
    );
    for member in list(&status["view"]["members"]) {
        out += &row(status, &member);
    }
    out += &differences(&status["differences"], &me);
    if let Value::String(reason) = &status["rejected"] {
        out += &format!("\nother nodes will not have this one: {reason}\n");
    }
    out
}

/// One node of the view.
fn row(status: &Value, member: &Value) -> String {
    let id = &member["id"];
    let of = |all: &Value, name: &str| {
        list(all).into_iter().find(|one| one[name] == *id).unwrap_or_default()
    };
    let (link, other) = (of(&status["links"], "peer"), of(&status["others"], "id"));
    let is_itself = *id == status["node"]["id"];
    let agrees = |what: &str| match list(&status["differences"][what]).contains(id) {
        _ if is_itself => "itself",
        _ if other["is_live"] != true => "-",
        true => "no",
        false => "yes",
    };
    #[allow(clippy::cast_precision_loss)]
    let trip = link["rtt_us"]
        .as_u64()
        .map_or("-".to_owned(), |micros| format!("{:.2}", micros as f64 / 1000.0));
    format!(
        "{:<20} {:<9} {:<9} {:>6} {:>8} {trip:>9} {:>10}  {:<9}  {}\n",
        text(id),
        text(&member["phase"]),
        text(if is_itself { &status["version"] } else { &other["version"] }),
        text(&member["slots"]),
        text(&link["state"]),
        text(&link["backlog_bytes"]),
        agrees("view"),
        agrees("apps"),
    )
}

/// What the nodes do not have in common with the one that was asked.
fn differences(found: &Value, me: &str) -> String {
    let kinds = [
        ("view", "another view"),
        ("apps", "other apps"),
        ("version", "another version of Handbell"),
        ("wire", "another version of the cluster's protocol"),
    ];
    let mut out = String::from("\n");
    for (key, what) in kinds {
        let nodes: Vec<String> = list(&found[key]).iter().map(text).collect();
        if !nodes.is_empty() {
            out += &format!("{what} than {me}: {}\n", nodes.join(", "));
        }
    }
    if out == "\n" {
        out += "all nodes have the same view, apps and version\n";
    }
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Value {
        json!({
            "node": { "id": "a" }, "version": "1.2.3", "slots_owned": 2048, "slots_total": 4096,
            "channels_owned": 3, "copies": 2,
            "view": { "hash": "ff", "members": [
                { "id": "a", "phase": "serving", "slots": 2048 },
                { "id": "b", "phase": "serving", "slots": 2048 },
            ]},
            "links": [{ "peer": "b", "state": "up", "rtt_us": 250, "backlog_bytes": 0 }],
            "others": [{ "id": "b", "is_live": true, "version": "1.2.4" }],
            "differences": { "view": [], "apps": [], "version": [], "wire": [] },
        })
    }

    #[test]
    fn a_person_sees_who_owns_what_and_that_all_agree() {
        let table = table(&status());
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].contains("2048 of 4096 slots and 3 channels"), "{table}");
        assert!(lines[3].starts_with("a ") && lines[3].ends_with("itself"), "{table}");
        assert!(lines[4].contains("0.25") && lines[4].ends_with("yes"), "{table}");
        assert_eq!(lines[6], "all nodes have the same view, apps and version");
    }

    #[test]
    fn a_person_sees_which_nodes_differ_and_in_what() {
        let mut status = status();
        status["differences"] = json!({ "view": [], "apps": ["b"], "version": ["b"], "wire": [] });
        let table = table(&status);
        assert!(table.lines().nth(4).unwrap().ends_with("yes        no"), "{table}");
        assert!(table.contains(" 1.2.4 "), "{table}");
        assert!(table.contains("\nother apps than a: b\n"), "{table}");
        assert!(table.contains("\nanother version of Handbell than a: b\n"), "{table}");
        assert!(!table.contains("another view"), "{table}");
    }
}
