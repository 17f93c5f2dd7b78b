//! Starting `ractor_cluster` and the gateways.

use std::net::Ipv4Addr;
use std::sync::Arc;

use proto::RelayId;
use ractor::{Actor, ActorId, ActorRef, SpawnErr};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage};

use super::Message;
use crate::cluster::engine::gateway::Gateway;
use crate::cluster::engine::{FRAME_BYTES_MAX, Shared};

/// Room for what `ractor_cluster` puts around a frame.
const ENVELOPE_BYTES_MAX: u64 = 4096;

/// The name under which `ractor_cluster` knows a life of a node: a stale session of an older life
/// under the same name could keep the new one out.
fn short_name(id: &RelayId) -> String {
    format!("{}-{:x}", id.node, id.incarnation)
}

pub(super) fn full_name(id: &RelayId) -> String {
    format!("{}@{}", short_name(id), id.node)
}

pub(super) async fn start_server(
    shared: &Shared,
    myself: &ActorRef<Message>,
) -> Result<ActorRef<NodeServerMessage>, SpawnErr> {
    let id = &shared.me.id;
    let server = NodeServer::new(
        0,
        shared.keys.cookie(),
        short_name(id),
        id.node.to_string(),
        None,
        Some(NodeConnectionMode::Isolated),
    )
    .with_listen_addr(Ipv4Addr::LOCALHOST.into())
    .with_max_inbound_frame_size(FRAME_BYTES_MAX as u64 + ENVELOPE_BYTES_MAX);
    let (server, _) = Actor::spawn_linked(None, server, (), myself.get_cell()).await?;
    let subscription = Box::new(Subscription(myself.clone()));
    // If it has failed already, so will its supervisor.
    let _ = server.cast(NodeServerMessage::SubscribeToEvents { id: "links".into(), subscription });
    Ok(server)
}

pub(super) async fn start_gateway(
    shared: &Shared,
    lane: usize,
    myself: &ActorRef<Message>,
) -> Result<ActorId, SpawnErr> {
    let gateway = Gateway {
        lane,
        sessions: Arc::clone(&shared.sessions),
        counters: Arc::clone(&shared.counters),
        links: myself.clone(),
    };
    let (gateway, _) = Actor::spawn_linked(None, gateway, (), myself.get_cell()).await?;
    Ok(gateway.get_id())
}

/// Passes on what the node server says of its sessions.
struct Subscription(ActorRef<Message>);

impl NodeEventSubscription for Subscription {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        // The actor that would be told is this one's supervisor; without it nothing goes on.
        let _ = self.0.cast(Message::Opened(session));
    }

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(Message::Ready(session));
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let _ = self.0.cast(Message::Disconnected(session));
    }
}
