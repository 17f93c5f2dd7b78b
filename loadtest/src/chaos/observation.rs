//! What the load, the sink and the watchers see, as values. They make these; the judge takes them.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::mark::Mark;

/// One connection of one client; a client that comes back has another.
pub type Connection = u64;
/// A channel, by its place in the list of channels.
pub type Channel = u32;
/// A node, by its place in the list of nodes.
pub type Node = usize;

/// Something that was seen. Times are since the run began.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A client is connected.
    Opened(Connection, Node),
    /// A client is subscribed.
    Subscribed(Subscribed),
    /// A client begins to leave a channel.
    Left(Connection, Channel, Duration),
    /// An event arrived.
    Received(Connection, Channel, Mark, Duration),
    /// A client was told that a user came, or left.
    Member(Connection, Channel, Arc<str>, bool),
    /// A subscription was refused.
    Refused(String),
    /// A connection ended.
    Closed(Closed),
    /// A publish is over.
    Published(Published),
    /// Webhook events arrived together.
    Hooks(Vec<Hook>),
    /// A node was looked at.
    Looked(Node, Duration, Look),
}

/// A subscription that was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Whose.
    pub connection: Connection,
    /// Of what.
    pub channel: Channel,
    /// The user that it makes a member, and all members, in a presence channel.
    pub presence: Option<(Arc<str>, Vec<Arc<str>>)>,
    /// When.
    pub at: Duration,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which.
    pub connection: Connection,
    /// The server's code; none if it went away without one.
    pub code: Option<u16>,
    /// When.
    pub at: Duration,
    /// Whether the client wanted it.
    pub is_ours: bool,
}

/// What became of a publish, with all its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place.
    pub mark: Mark,
    /// When the first attempt began.
    pub sent_at: Duration,
    /// When the last attempt was over.
    pub done_at: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The node that was asked last; none if there was none to ask.
    pub node: Option<Node>,
    /// Whether it had a key and was tried again.
    pub is_keyed: bool,
    /// Attempts that failed, and how.
    pub failures: Vec<Failure>,
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged at the level that was asked for.
    Acknowledged,
    /// Acknowledged, at another level than the one that was asked for.
    Downgraded,
    /// Acknowledged, at less than nodes of a cluster reach by themselves; no level was asked for.
    Lowered,
    /// Not acknowledged.
    Failed,
}

/// Why an attempt to publish failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Another status than 200.
    Status(u16),
    /// Nobody listened.
    Unreachable,
    /// The connection broke before the answer came.
    Broken,
    /// No answer for so long that nobody may be kept waiting longer.
    Hung,
    /// No answer from a node that was stopped at the time.
    Stopped,
}

/// One event of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Hook {
    /// The same in every repetition, if the server gives one.
    #[serde(default)]
    pub id: Option<String>,
    /// What kind.
    pub name: String,
    /// Where.
    pub channel: String,
    /// Who, for members.
    #[serde(default)]
    pub user_id: Option<String>,
}

/// What a node says about itself.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Whether it is ready; none if it did not answer.
    pub is_ready: Option<bool>,
    /// What it says about the cluster, if it does.
    pub status: Option<Arc<Status>>,
}

/// The answer of `GET /cluster`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The node that answered.
    pub node: Member,
    /// What it does.
    pub phase: String,
    /// Who belongs to the cluster.
    pub view: View,
    /// Its links.
    pub links: Vec<Link>,
    /// Channels that it owns.
    pub channels_owned: u64,
    /// Channels of others that it keeps copies of.
    pub copies: u64,
    /// Messages of others that it could not read, in this life.
    pub unreadable_messages: u64,
}

/// The serving nodes, as one node sees them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct View {
    /// The same for the same nodes.
    pub hash: Value,
    /// The nodes.
    pub members: Vec<Member>,
}

/// A node, as one node sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its name.
    pub id: String,
    /// Which life of it.
    pub incarnation: Value,
}

/// A link to a peer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Link {
    /// To whom.
    pub peer: String,
    /// `up`, `suspect` or `down`.
    pub state: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_the_design_is_understood() {
        let status: Status = serde_json::from_str(
            r#"{"node":{"id":"node-1","incarnation":7},"phase":"serving",
                "view":{"hash":"ab","members":[{"id":"node-1","incarnation":7,"phase":"serving"}]},
                "slots_owned":4096,"channels_owned":3,
                "links":[{"peer":"node-2","incarnation":8,"state":"suspect","rtt_us":90}]}"#,
        )
        .unwrap();
        assert_eq!(status.view.members[0].id, "node-1");
        assert_eq!(status.links[0].state, "suspect");
    }

    #[test]
    fn webhooks_are_understood_with_and_without_an_id() {
        let hooks: Vec<Hook> = serde_json::from_str(
            r#"[{"name":"member_added","channel":"presence-a","user_id":"u","id":"1"},
                {"name":"channel_vacated","channel":"c"}]"#,
        )
        .unwrap();
        assert_eq!(hooks[0].id.as_deref(), Some("1"));
        assert_eq!(hooks[1].user_id, None);
    }
}
