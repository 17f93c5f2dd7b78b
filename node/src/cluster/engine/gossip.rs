//! Gossip: chitchat spreads each node's facts and notices who has fallen silent.
//!
//! The facts are one text under one key, so that others never see half a change. Of the lives of one
//! node only the latest counts, from the moment it is heard of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState,
    spawn_chitchat,
};
use ractor::ActorRef;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::links::Message;
use super::socket::SealedTransport;
use super::{Facts, Seen, Shared};

/// How often a node gossips.
const GOSSIP_EVERY: Duration = Duration::from_millis(200);
/// How often what gossip knows is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a dead node is remembered.
const DEAD_FOR: Duration = Duration::from_secs(600);
/// The suspicion at which a node counts as dead.
const PHI: f64 = 8.0;
/// Heartbeats over which their usual interval is taken.
const SAMPLES: usize = 1_000;
/// What the interval is taken for before there are samples. With five times its weight, a node that
/// falls silent is noticed after one to two seconds.
const INITIAL_INTERVAL: Duration = Duration::from_secs(1);
/// Longer intervals were no heartbeats but pauses.
const MAX_INTERVAL: Duration = Duration::from_secs(10);
/// The key of the facts.
const KEY: &str = "facts";

/// Starts to gossip about `facts`, as they are now and as they will be.
pub(super) async fn start(
    socket: UdpSocket,
    seeds: &[String],
    shared: &Shared,
    facts: &Facts,
) -> anyhow::Result<ChitchatHandle> {
    let listen = socket.local_addr()?;
    let transport = SealedTransport {
        socket,
        keys: shared.keys.clone(),
        counters: Arc::clone(&shared.counters),
    };
    let id = &facts.id;
    // Names are resolved in `seeds`: chitchat would look at them once a minute.
    let is_address = |seed: &&String| seed.parse::<SocketAddr>().is_ok();
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(id.node.to_string(), id.incarnation, facts.cluster),
        cluster_id: "handbell".into(),
        gossip_interval: GOSSIP_EVERY,
        listen_addr: listen,
        seed_nodes: seeds.iter().filter(is_address).cloned().collect(),
        failure_detector_config: FailureDetectorConfig::new(
            PHI,
            SAMPLES,
            MAX_INTERVAL,
            INITIAL_INTERVAL,
            DEAD_FOR,
        ),
        marked_for_deletion_grace_period: DEAD_FOR,
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    spawn_chitchat(config, vec![(KEY.into(), facts.encode())], &transport).await
}

/// Says what this node's facts have become, and reports what gossip knows when that has changed,
/// until chitchat ends.
pub(super) async fn run(
    handle: Arc<ChitchatHandle>,
    mut facts: watch::Receiver<Facts>,
    links: ActorRef<Message>,
) {
    let chitchat = handle.chitchat();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = Box::pin(handle.termination_watcher());
    let mut last = Vec::new();
    loop {
        tokio::select! {
            _ = looks.tick() => {
                let seen = look(&*chitchat.lock().await);
                if seen != last {
                    last.clone_from(&seen);
                    if links.cast(Message::Gossip(seen)).is_err() {
                        return;
                    }
                }
            }
            changed = facts.changed() => {
                if changed.is_err() {
                    return;
                }
                let text = facts.borrow_and_update().encode();
                chitchat.lock().await.self_node_state().set(KEY, text);
            }
            end = &mut ended => {
                return tracing::error!(?end, "gossip has ended");
            }
        }
    }
}

/// The other nodes, the latest life of each; and this one, if it has a later life elsewhere.
fn look(chitchat: &Chitchat) -> Vec<Seen> {
    let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
    let me = chitchat.self_chitchat_id();
    let is_other =
        |id: &ChitchatId| id.node_id != me.node_id || id.generation_id > me.generation_id;
    let others = chitchat.node_states().iter().filter(|(id, _)| is_other(id));
    latest(others.map(|(id, state)| (id, facts_of(id, state), live.contains(id))))
}

fn facts_of(id: &ChitchatId, state: &NodeState) -> Option<Facts> {
    let facts = Facts::decode(state.get(KEY)?)?;
    let is_own = facts.id.node.as_str() == &*id.node_id
        && facts.id.incarnation == id.generation_id
        && facts.cluster == id.gossip_advertise_addr;
    is_own.then_some(facts)
}

/// Of each node the latest life, and it alone can be live. A life whose facts have not come yet
/// ends the one before.
fn latest<'a>(lives: impl Iterator<Item = (&'a ChitchatId, Option<Facts>, bool)>) -> Vec<Seen> {
    let mut nodes: BTreeMap<&str, (u64, Option<Seen>)> = BTreeMap::new();
    // Lives come in order of node and then of generation.
    for (id, facts, is_live) in lives {
        let (generation, seen) = nodes.entry(&id.node_id).or_default();
        if id.generation_id > *generation
            && let Some(seen) = seen
        {
            seen.is_live = false;
        }
        *generation = id.generation_id;
        if let Some(facts) = facts {
            *seen = Some(Seen { facts, is_live });
        }
    }
    nodes.into_values().filter_map(|(_, seen)| seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proto::RelayId;
    use proto::name::NodeId;

    use crate::cluster::engine::Phase;

    fn life(node: &str, incarnation: u64) -> (ChitchatId, Facts) {
        let cluster = "127.0.0.1:1".parse().unwrap();
        let facts = Facts {
            id: RelayId { node: NodeId::parse(node).unwrap(), incarnation },
            cluster,
            clients: None,
            wire: 0,
            slots: 0,
            phase: Phase::Serving,
            apps_digest: 0,
            version: String::new(),
            view_hash: 0,
            suspects: Vec::new(),
        };
        (ChitchatId::new(node, incarnation, cluster), facts)
    }

    #[test]
    fn the_latest_life_of_a_node_counts_at_once() {
        let ((a, a_facts), (b1, b1_facts), (b2, b2_facts)) =
            (life("a", 1), life("b", 1), life("b", 2));
        let both = [
            (&a, Some(a_facts.clone()), true),
            (&b1, Some(b1_facts.clone()), true),
            (&b2, Some(b2_facts.clone()), false),
        ];
        let seen = |facts, is_live| Seen { facts, is_live };
        let expected = vec![seen(a_facts, true), seen(b2_facts, false)];
        assert_eq!(latest(both.into_iter()), expected);
        let unknown = [(&b1, Some(b1_facts.clone()), true), (&b2, None, true)];
        assert_eq!(latest(unknown.into_iter()), [seen(b1_facts, false)]);
        assert_eq!(latest([(&a, None, true)].into_iter()), []);
    }
}
