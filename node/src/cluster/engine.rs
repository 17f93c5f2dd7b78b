//! The engine of the cluster: it finds the other nodes, knows which are alive, and carries frames
//! between them. It knows nothing of channels.
//!
//! `ractor_cluster` carries the frames and `chitchat` gossips; each is guarded where it was measured
//! to be weak. Both keep their registries per process, so a process has one engine.
//!
//! The caller decides whom to dial and when to give a link up; the engine reports what happened, as
//! [`Event`]s in order. Frames do not go through that queue: they reach the [`Inbox`]. Frames of a
//! session come only after its [`Event::Up`] was queued. When the queue closes, the engine has
//! failed for good.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chitchat::ChitchatHandle;
use proto::RelayId;
use proto::app::Secret;
use proto::cluster::handshake::{Introduction, Keys, Nonce};
use ractor::{Actor, ActorRef};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::{listen, random};

mod accept;
mod announce;
mod count;
mod dial;
mod gateway;
mod gossip;
mod links;
mod pending;
mod seal;
mod seeds;
mod session;
mod socket;
mod stream;
mod tls;

pub use announce::{Facts, Phase, Seen};
pub use count::Counts;
pub use session::INBOX_FRAMES;
pub use tls::ClusterTls;

use count::Counters;
use links::{Links, Message, Parts};
use session::Sessions;
use tls::Tls;

/// Lanes of a session: frames keep their order within one. The first is for control.
pub const LANES: usize = 3;
/// Spare room that a frame's buffer should have, so that [`Engine::send`] need not move it.
pub const FRAME_SPARE: usize = 8;
/// The largest frame. A peer that sends a larger one loses its session.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// How long stopping may take until everything is killed.
const STOP_MAX: Duration = Duration::from_secs(2);

/// What the engine is started with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where links are accepted over TCP and gossip is received over UDP, on the same port.
    pub listen: SocketAddr,
    /// Other nodes, as `address:port` or `name:port`. A name stands for all its addresses.
    pub seeds: Vec<String>,
    /// What all nodes of the cluster know and nobody else.
    pub secret: Secret,
    /// Certificates, to encrypt links as well.
    pub tls: Option<ClusterTls>,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Frames can be sent to the peer.
    Up {
        /// The life of a node at the other end.
        peer: RelayId,
        /// The session's number: the same at both ends, and never used again.
        session: u64,
    },
    /// A session that was up has ended, whoever ended it. The peer can be dialled again.
    Down {
        /// The life of a node at the other end.
        peer: RelayId,
        /// The session's number.
        session: u64,
    },
    /// An attempt has failed. Every [`Engine::dial`] that is not ignored ends in this or in `Up`.
    DialFailed {
        /// Who was dialled.
        peer: RelayId,
        /// The address said at once that this life of the node is not there; otherwise it did not
        /// answer in time, or the attempt broke off.
        refused: bool,
    },
    /// The other side answered and will not have us, or we will not have it.
    Rejected {
        /// Who was asked.
        address: SocketAddr,
        /// Why, for a person.
        reason: String,
    },
    /// All other nodes that gossip knows, in order of their ids, the latest life of each. This node
    /// is among them only if a later life of it is known: then its time is over. Sent when anything
    /// in it has changed.
    Gossip(Vec<Seen>),
}

/// Where frames arrive.
///
/// It is called in order for each session and lane; awaiting in it holds back that lane of that
/// session only. A lane that is held back while more than [`INBOX_FRAMES`] frames arrive
/// costs the session, so the sender needs credits below that.
pub trait Inbox: Send + Sync + 'static {
    /// Takes a frame.
    fn receive(
        &self,
        from: RelayId,
        session: u64,
        lane: usize,
        frame: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What the parts of the engine have in common.
struct Shared {
    me: Introduction,
    facts: watch::Sender<Facts>,
    keys: Keys,
    tls: Option<Tls>,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
}

/// A handle to the engine, which goes on until [`Engine::stop`].
#[derive(Clone)]
pub struct Engine {
    links: ActorRef<Message>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("me", &self.shared.me.id).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the cluster port and begins to gossip. If `me.cluster` has the port 0, it gets the one
    /// that was bound.
    ///
    /// # Errors
    /// The port cannot be bound, or a certificate cannot be used.
    pub async fn start(
        config: EngineConfig,
        mut me: Facts,
        events: mpsc::Sender<Event>,
        inbox: Arc<dyn Inbox>,
    ) -> anyhow::Result<Self> {
        let (tcp, udp) = bind(config.listen)
            .with_context(|| format!("cannot listen on {} (cluster.listen)", config.listen))?;
        if me.cluster.port() == 0 {
            me.cluster.set_port(tcp.local_addr()?.port());
        }
        let shared = Arc::new(Shared {
            me: Introduction { id: me.id.clone(), wire: me.wire, slots: me.slots },
            facts: watch::Sender::new(me.clone()),
            keys: Keys::new(&config.secret),
            tls: config.tls.as_ref().map(Tls::load).transpose()?,
            sessions: Arc::default(),
            counters: Arc::default(),
        });
        let gossip = Arc::new(gossip::start(udp, &config.seeds, &shared, &me).await?);
        let parts = Parts { shared: Arc::clone(&shared), events, inbox };
        let (links, _) = Actor::spawn(None, Links, parts).await?;
        let engine = Self { links, shared };
        engine.run(tcp, gossip, config.seeds);
        Ok(engine)
    }

    /// Starts the tasks. They end with the owner of the sessions, and it with any of them.
    fn run(&self, tcp: TcpListener, gossip: Arc<ChitchatHandle>, seeds: Vec<String>) {
        let (shared, links) = (&self.shared, &self.links);
        let mut tasks = JoinSet::new();
        let accepting = accept::run(tcp, Arc::clone(shared), links.clone());
        tasks.spawn(vital("the cluster port", links.clone(), accepting));
        let looking = seeds::run(seeds, Arc::clone(&gossip), Arc::clone(shared), links.clone());
        tasks.spawn(vital("the search for other nodes", links.clone(), looking));
        let gossiping = gossip::run(gossip, shared.facts.subscribe(), links.clone());
        tasks.spawn(vital("gossip", links.clone(), gossiping));
        if shared.tls.is_some() {
            let shared = Arc::clone(shared);
            tasks.spawn(async move {
                if let Some(tls) = &shared.tls {
                    tls.watch().await;
                }
            });
        }
        // Without the owner there is nobody to keep the tasks.
        let _ = links.cast(Message::Tasks(tasks));
    }

    /// The address at which the others reach this node.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.facts.borrow().cluster
    }

    /// What this node gossips of itself.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.shared.facts.borrow().clone()
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Tries once to open a session, for 1.5 s. Ignored if there is a session with that peer or an
    /// attempt is under way, in either direction.
    pub fn dial(&self, peer: &RelayId, address: SocketAddr) {
        // Once the engine has failed, the closed queue of events says so.
        let _ = self.links.cast(Message::Dial(peer.clone(), address));
    }

    /// Sends a frame, without waiting. False if the session has ended, or there is no such lane.
    /// That it was sent does not mean that it arrives: the session may be lost with it.
    #[must_use]
    pub fn send(&self, session: u64, lane: usize, frame: Vec<u8>) -> bool {
        self.shared.sessions.send(session, lane, frame)
    }

    /// Ends a session. What was not sent yet is lost; [`Event::Down`] follows.
    pub fn close(&self, session: u64) {
        let _ = self.links.cast(Message::Close(session));
    }

    /// Changes what this node gossips of itself. Its id and address stay what they are.
    pub fn announce(&self, change: impl FnOnce(&mut Facts)) {
        self.shared.facts.send_if_modified(|facts| {
            let before = facts.clone();
            change(facts);
            facts.id = before.id.clone();
            facts.cluster = before.cluster;
            *facts != before
        });
    }

    /// Ends everything at once: sessions, gossip, the port.
    pub async fn stop(&self) {
        if self.links.stop_and_wait(None, Some(STOP_MAX)).await.is_err() {
            self.links.kill();
        }
    }
}

/// Runs a task, and says so when it ends, in whatever way.
async fn vital(name: &'static str, links: ActorRef<Message>, task: impl Future<Output = ()>) {
    let _end = End(name, links);
    task.await;
}

struct End(&'static str, ActorRef<Message>);

impl Drop for End {
    fn drop(&mut self) {
        // When the engine is stopped, its owner ends first.
        let _ = self.1.cast(Message::Ended(self.0));
    }
}

/// Binds TCP and UDP on one port, which may be any that is free.
fn bind(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    const TRIES: usize = 16;
    let mut failure = None;
    for _ in 0..TRIES {
        let tcp = listen::bind(address)?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => {
                udp.set_nonblocking(true)?;
                return Ok((tcp, udp));
            }
            Err(error) if address.port() == 0 => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// 256 random bits.
fn nonce() -> Nonce {
    let mut nonce = [0; 32];
    let (first, second) = nonce.split_at_mut(16);
    first.copy_from_slice(&random::bits().to_be_bytes());
    second.copy_from_slice(&random::bits().to_be_bytes());
    nonce
}
