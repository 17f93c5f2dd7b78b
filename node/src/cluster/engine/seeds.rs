//! Seeds: the addresses at which a node looks for the others, resolved anew every few seconds.
//!
//! Who has another secret does not answer gossip. So, as long as there is no link, seeds are dialled
//! too, to hear why they do not answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatHandle;
use proto::cluster::handshake::Refusal;
use ractor::ActorRef;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::dial::{self, DialError};
use super::links::Message;

/// How often seeds are resolved and told of this node.
const RESOLVE_EVERY: Duration = Duration::from_secs(3);
/// How long one name may take.
const RESOLVE_MAX: Duration = Duration::from_secs(2);
/// Addresses of all seeds together.
const ADDRESSES_MAX: usize = 256;

/// Looks for the other nodes for ever.
pub(super) async fn run(
    seeds: Vec<String>,
    gossip: Arc<ChitchatHandle>,
    shared: Arc<Shared>,
    links: ActorRef<Message>,
) {
    loop {
        let mut addresses = resolve(&seeds).await;
        addresses.remove(&shared.facts.borrow().cluster);
        for &address in &addresses {
            if gossip.gossip(address).is_err() {
                return;
            }
        }
        if shared.sessions.are_none() {
            for (address, refusal) in probe_all(&addresses, &shared).await {
                // The engine may have been stopped meanwhile.
                let _ = links.cast(Message::Rejected(address, refusal));
            }
        }
        sleep(RESOLVE_EVERY).await;
    }
}

async fn resolve(seeds: &[String]) -> BTreeSet<SocketAddr> {
    let mut lookups = JoinSet::new();
    for seed in seeds {
        let seed = seed.clone();
        lookups.spawn(async move {
            let found = timeout(RESOLVE_MAX, lookup_host(seed.as_str())).await;
            match found {
                Ok(Ok(addresses)) => return addresses.collect(),
                Ok(Err(error)) => tracing::debug!(seed, %error, "a seed could not be resolved"),
                Err(_) => tracing::debug!(seed, "resolving a seed took too long"),
            }
            Vec::new()
        });
    }
    let found = lookups.join_all().await;
    found.into_iter().flatten().take(ADDRESSES_MAX).collect()
}

async fn probe_all(
    addresses: &BTreeSet<SocketAddr>,
    shared: &Arc<Shared>,
) -> Vec<(SocketAddr, Refusal)> {
    let mut probes = JoinSet::new();
    for &address in addresses {
        let shared = Arc::clone(shared);
        probes.spawn(async move { (address, dial::probe(&shared, address).await) });
    }
    // A seed can be this node under another address: that is nobody's concern.
    let refusal = |(address, outcome): (_, Result<(), DialError>)| {
        Some((address, outcome.err()?.concerns_a_person()?.clone()))
    };
    probes.join_all().await.into_iter().filter_map(refusal).collect()
}
