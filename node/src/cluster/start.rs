//! Joining a cluster, or being one alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use proto::RelayId;
use proto::cluster::link::WIRE;
use proto::cluster::slot::SLOTS;
use proto::cluster::view::View;
use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::apps::Apps;
use crate::clock::unix_ms;
use crate::config::ClusterSection;
use crate::random;
use crate::router::Router;
use crate::sessions::Sessions;

use super::engine::{Engine, EngineConfig, Facts, Phase};
use super::member::{Member, MemberParts, Message, Status};
use super::{Differences, Inbox, Pulse, rebirth};

/// Events of the engine that may wait for the member.
const EVENTS: usize = 1_024;
/// Bits of an incarnation below the time, drawn at random: two nodes that start in the same
/// millisecond differ.
const RANDOM_BITS: u32 = 20;
/// How long giving the slots away may take.
const HANDOVER_MAX: Duration = Duration::from_secs(10);

/// A number for one life of a node: larger than that of any earlier one, and no other node's.
#[must_use]
pub fn incarnation() -> u64 {
    let random = u64::try_from(random::bits() % (1 << RANDOM_BITS)).unwrap_or(0);
    unix_ms() << RANDOM_BITS | random
}

/// A node's part in a cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What carries frames and gossips.
    pub engine: Engine,
    /// What can be seen of the member.
    pub status: Arc<Status>,
    /// What came and could not be read.
    pub inbox: Arc<Inbox>,
    router: Router,
    member: ActorRef<Message>,
}

impl Cluster {
    /// Opens the cluster port and looks for the others. The node serves once it has found them.
    ///
    /// # Errors
    /// The port cannot be bound, or the configuration is wrong.
    pub async fn join(
        (section, pulse): (&ClusterSection, &Pulse),
        (router, apps, sessions): (&Router, &Apps, &Sessions),
        root: ActorCell,
    ) -> anyhow::Result<Self> {
        let channels = router.channels().clone();
        let inbox = Arc::new(Inbox::new(channels.clone(), sessions.clone()));
        let (sender, events) = mpsc::channel(EVENTS);
        let config = EngineConfig {
            listen: section.listen,
            seeds: section.seeds.clone(),
            secret: section.secret.clone(),
            tls: section.tls.clone(),
        };
        let me = facts(section, router.me().clone(), apps.digest());
        let engine = Engine::start(config, me, sender, Arc::<Inbox>::clone(&inbox)).await?;
        channels.peers().connect(engine.clone());
        let status = Arc::new(Status::default());
        let paused = Arc::clone(&status);
        pulse.start(*channels.clock(), move || paused.fence("the process was stopped"))?;
        let parts = MemberParts {
            clock: *channels.clock(),
            engine: engine.clone(),
            router: router.clone(),
            channels,
            inbox: Arc::clone(&inbox),
            apps: apps.clone(),
            status: Arc::clone(&status),
            bootstrap_after: section.bootstrap_after.0,
            hold: rebirth::hold(),
        };
        let (member, _) = Actor::spawn_linked(None, Member, parts, root).await?;
        inbox.connect(member.clone());
        tokio::spawn(Member::hear(events, member.clone()));
        Ok(Self { engine, status, inbox, router: router.clone(), member })
    }

    /// In what the other nodes differ from this one.
    #[must_use]
    pub fn differences(&self) -> Differences {
        self.status.differences(&self.engine)
    }

    /// Gives all slots away, if there is anybody to take them.
    pub async fn leave(&self) {
        if self.member.cast(Message::Drain).is_err() {
            return tracing::error!("the cluster member has failed; the slots are not handed over");
        }
        let began = Instant::now();
        // The first moments are for the others to hear of it.
        loop {
            sleep(Duration::from_millis(20)).await;
            // What was given away is kept until two others hold it.
            let channels = self.router.channels();
            let left = channels.slots_served().max(channels.slots_kept());
            if left == 0 || !self.is_succeeded() {
                return;
            }
            if began.elapsed() >= HANDOVER_MAX {
                return tracing::error!(left, "slots could not be handed over in time");
            }
        }
    }

    /// Whether there is a node that goes on. When all nodes stop together there is none.
    fn is_succeeded(&self) -> bool {
        let view = self.router.view();
        let mut members = view.iter().flat_map(|view| view.members());
        members.any(|member| member.phase == Phase::Serving && member.id != *self.router.me())
    }
}

fn facts(section: &ClusterSection, id: RelayId, apps_digest: u64) -> Facts {
    Facts {
        id,
        cluster: section.advertise.unwrap_or(section.listen),
        clients: None,
        wire: WIRE << 8,
        slots: SLOTS,
        phase: Phase::Joining,
        apps_digest,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        view_hash: 0,
        suspects: Vec::new(),
    }
}

/// Makes a node that has no cluster the owner of everything.
///
/// # Errors
/// If the slots are not served in a reasonable time.
pub async fn alone(router: &Router) -> anyhow::Result<()> {
    let view = Arc::new(View::alone(router.me().clone()));
    router.channels().peers().set_view(Some(Arc::clone(&view)));
    router.set_view(Some(Arc::clone(&view)));
    router.channels().set_view(&view, &[]);
    let began = Instant::now();
    while router.channels().slots_served() < SLOTS {
        sleep(Duration::from_millis(1)).await;
        let is_late = began.elapsed() > HANDOVER_MAX;
        (!is_late).then_some(()).context("the node could not take its own slots over")?;
    }
    Ok(())
}
