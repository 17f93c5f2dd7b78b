//! A node: it builds the parts, starts them in order, and drains them in order.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use proto::RelayId;
use proto::cluster::message::Ack;
use proto::name::NodeId;
use proto::pusher::Timing;
use ractor::{Actor, ActorCell, SpawnErr};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::admin::{self, Admin};
use crate::apps::Apps;
use crate::channels::{ChannelSupervisor, Channels, Parts};
use crate::clock::Clock;
use crate::cluster::{self, Cluster, Lease, Peers, Pulse, incarnation};
use crate::config::{ClusterSection, Config, Source};
use crate::metrics::{ChannelMetrics, HttpMetrics, Metrics, RelayMetrics, Scrape};
use crate::quotas::Quotas;
use crate::relay::{Relay, Shard};
use crate::reload::{Reload, Reloader};
use crate::router::Router;
use crate::server::Server;
use crate::sessions::Sessions;
use crate::supervisor::{Child, Supervisor};
use crate::webhook::{Dispatcher, Webhooks};
use crate::{http, listen, tls};

mod closing;

/// Supervisors that the channels are shared out over, so that linking is not one queue.
const CHANNEL_SUPERVISORS: usize = 8;
/// How often histograms are folded.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How long after it is due an edge that was held back has been told to the dispatcher.
const TOLD_WITHIN: Duration = Duration::from_millis(250);
/// How long held-back webhooks may take to leave when the node shuts down.
const WEBHOOKS_LAST: Duration = Duration::from_secs(8);

/// A running node.
#[derive(Debug)]
pub struct Node {
    config: Config,
    server: Arc<Server>,
    webhooks: Webhooks,
    supervisor: ActorCell,
    ended: JoinHandle<()>,
    stop: watch::Sender<bool>,
    clients: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    /// Starts a node. It serves when this returns.
    ///
    /// # Errors
    /// What is wrong with the configuration, or a port that cannot be bound.
    pub async fn start(config: Config, source: Source) -> anyhow::Result<Self> {
        let apps = config.check()?;
        let certificate = config.server.tls.clone().map(tls::Certificate::load).transpose()?;
        let (clients, admin) = listeners(&config)?;
        let (clock, metrics) = (Clock::start(), Metrics::new());
        let apps = Apps::new(apps, metrics.clone());
        let id = RelayId { node: node_id(config.cluster.as_ref())?, incarnation: incarnation() };
        let (relay, shards) = Relay::new(id.clone(), cores());
        let (webhooks, quotas) = (Webhooks::new(apps.clone()), Quotas::new(apps.clone()));
        let (peers, pulse) = (Peers::new(clock), Pulse::default());
        let channels = Channels::new(Parts {
            clock,
            relay: Arc::clone(&relay),
            peers: peers.clone(),
            pulse: pulse.clone(),
            lease: Lease::new(config.cluster.as_ref().and_then(ClusterSection::quorum)),
            quotas: quotas.clone(),
            ack: config.cluster.as_ref().map_or(Ack::Sequenced, |cluster| cluster.ack),
            webhooks: webhooks.clone(),
            apps: apps.clone(),
            history: config.history,
            metrics: ChannelMetrics::new(&metrics),
        });
        webhooks.connect(channels.clone());
        let router = Router::new(id, channels.clone(), peers);
        quotas.connect(router.clone());
        for shard in shards {
            let counted = RelayMetrics::new(&metrics, clock);
            tokio::spawn(Shard::run(shard, router.clone(), counted));
        }
        let reload = Reload {
            source,
            apps: apps.clone(),
            channels: channels.clone(),
            metrics: metrics.clone(),
        };
        let (supervisor, ended) = supervise(&channels, &webhooks, reload).await?;
        tokio::spawn(quotas.clone().renew());
        let sessions = Sessions::new(&router);
        let cluster = join((&config, &pulse), (&router, &apps, &sessions), &supervisor).await?;
        let server = Arc::new(Server {
            clock,
            apps,
            router,
            quotas,
            cluster,
            relay,
            doors: config.doors(),
            sessions,
            timing: timing(&config),
            history: config.history,
            http_metrics: HttpMetrics::new(&metrics),
            metrics,
            events: AtomicU64::new(0),
            drain: Notify::new(),
            is_draining: AtomicBool::new(false),
        });
        let node = Self {
            clients: clients.local_addr()?,
            admin: admin.local_addr()?,
            config,
            server,
            webhooks,
            supervisor,
            ended,
            stop: watch::Sender::new(false),
        };
        node.open(clients, admin, certificate);
        Ok(node)
    }

    /// Opens the doors.
    fn open(
        &self,
        clients: TcpListener,
        admin: TcpListener,
        certificate: Option<Arc<tls::Certificate>>,
    ) {
        let acceptor = certificate.as_ref().map(|c| listen::acceptor(c.server_config()));
        if let Some(certificate) = certificate {
            tokio::spawn(certificate.watch());
        }
        let routes = http::routes(Arc::clone(&self.server));
        tokio::spawn(listen::serve(clients, acceptor, routes, self.stop.subscribe()));
        let metrics = self.server.metrics.clone();
        let scrape = Scrape {
            metrics: metrics.clone(),
            apps: self.server.apps.clone(),
            channels: self.server.router.channels().clone(),
            webhooks: self.webhooks.clone(),
            cluster: self.server.cluster.clone(),
        };
        let routes = admin::routes(Admin {
            server: Arc::clone(&self.server),
            scrape,
            token: self.config.admin.token.clone(),
        });
        // The admin port answers until the process ends.
        let never = watch::Sender::new(false);
        let stop = never.subscribe();
        tokio::spawn(async move {
            listen::serve(admin, None, routes, stop).await;
            drop(never);
        });
        tokio::spawn(async move {
            loop {
                sleep(UPKEEP_EVERY).await;
                metrics.upkeep();
            }
        });
    }

    /// The client port as it was bound.
    #[must_use]
    pub const fn clients(&self) -> SocketAddr {
        self.clients
    }

    /// The admin port as it was bound.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What the node's doors work with.
    #[must_use]
    pub const fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Waits until the node has given up, which it does when a part of it failed too often.
    pub async fn failed(&mut self) {
        if let Err(error) = (&mut self.ended).await {
            tracing::error!(%error, "the supervisor panicked");
        }
    }

    /// Leaves the cluster at once, in which others have gone on without this node, and tells all clients
    /// to reconnect.
    pub async fn send_away(&self) {
        if let Some(cluster) = &self.server.cluster {
            cluster.engine.stop().await;
        }
        self.server.is_draining.store(true, Ordering::Relaxed);
        closing::close_at_once(&self.server.relay).await;
    }

    /// Shuts down politely: not ready, then no new connections, then every connection closed with
    /// 4200 in waves, then the last webhooks.
    pub async fn drain(self) {
        self.server.is_draining.store(true, Ordering::Relaxed);
        tracing::info!(delay = %self.config.drain.delay, window = %self.config.drain.window, "draining");
        sleep(self.config.drain.delay.0).await;
        self.stop.send_replace(true);
        if let Some(cluster) = &self.server.cluster {
            cluster.leave().await;
        }
        closing::close(&self.server.relay, self.config.drain.window.0).await;
        self.deliver_last_webhooks().await;
        if let Some(cluster) = &self.server.cluster {
            cluster.engine.stop().await;
        }
        self.supervisor.stop(None);
        tracing::info!("drained");
    }

    async fn deliver_last_webhooks(&self) {
        if self.server.apps.all().iter().all(|entry| entry.app.webhooks.is_empty()) {
            return;
        }
        // What is held back for returning clients is due within this time.
        sleep(proto::channel::edges::HELD_BACK_FOR + TOLD_WITHIN).await;
        let began = Instant::now();
        while self.webhooks.pending().0 > 0 && began.elapsed() < WEBHOOKS_LAST {
            sleep(Duration::from_millis(50)).await;
        }
        let (dropped, _) = self.webhooks.pending();
        if dropped > 0 {
            tracing::error!(dropped, "webhook events were not delivered before the end");
        }
    }
}

fn listeners(config: &Config) -> anyhow::Result<(TcpListener, TcpListener)> {
    let clients = bind(config.server.listen, "server.listen")?;
    Ok((clients, bind(config.admin.listen, "admin.listen")?))
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    listen::bind(address).with_context(|| format!("cannot listen on {address} ({key})"))
}

const fn timing(config: &Config) -> Timing {
    Timing {
        activity_timeout: config.server.activity_timeout.0,
        pong_timeout: config.server.pong_timeout.0,
    }
}

/// Joins the configured cluster, or takes all slots over where there is none.
async fn join(
    (config, pulse): (&Config, &Pulse),
    (router, apps, sessions): (&Router, &Apps, &Sessions),
    root: &ActorCell,
) -> anyhow::Result<Option<Cluster>> {
    let Some(section) = &config.cluster else {
        cluster::alone(router).await?;
        return Ok(None);
    };
    Cluster::join((section, pulse), (router, apps, sessions), root.clone()).await.map(Some)
}

/// Starts the actors: the root, the two that it restarts, and those that channels are linked to,
/// without which the node cannot go on.
async fn supervise(
    channels: &Channels,
    webhooks: &Webhooks,
    reload: Reload,
) -> anyhow::Result<(ActorCell, JoinHandle<()>)> {
    let webhooks = webhooks.clone();
    let dispatcher = Child::new("webhook dispatcher", move |supervisor| {
        start(Dispatcher, webhooks.clone(), supervisor)
    });
    let reloader =
        Child::new("reloader", move |supervisor| start(Reloader, reload.clone(), supervisor));
    let (supervisor, ended) = Actor::spawn(None, Supervisor, vec![dispatcher, reloader]).await?;
    let root = supervisor.get_cell();
    let mut supervisors = Vec::with_capacity(CHANNEL_SUPERVISORS);
    for _ in 0..CHANNEL_SUPERVISORS {
        supervisors.push(start(ChannelSupervisor, channels.clone(), root.clone()).await?);
    }
    channels.supervise(supervisors);
    Ok((root, ended))
}

async fn start<A: Actor>(
    actor: A,
    arguments: A::Arguments,
    supervisor: ActorCell,
) -> Result<ActorCell, SpawnErr> {
    let (actor, _) = Actor::spawn_linked(None, actor, arguments, supervisor).await?;
    Ok(actor.get_cell())
}

/// The configured name, or the host's: stable over restarts, and the pod's name in Kubernetes.
fn node_id(cluster: Option<&ClusterSection>) -> anyhow::Result<NodeId> {
    if let Some(name) = cluster.and_then(|cluster| cluster.node_id.as_ref()) {
        return NodeId::parse(name).context("cluster.node_id");
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    NodeId::parse(&name).with_context(|| format!("the host name `{name}` cannot be a node id"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
