//! The actor that keeps this node's view: it hears of gossip and of connections, dials, and tells
//! everyone who works with the view when it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use proto::RelayId;
use proto::cluster::membership::{Effect, Input, Membership, Seen};
use proto::cluster::message as wire;
use proto::cluster::view::{self, Phase, View};
use proto::name::NodeId;
use proto::pusher::code::CloseCode;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Notify, mpsc};

use crate::apps::Apps;
use crate::channels::Channels;
use crate::clock::Clock;
use crate::router::Router;

use super::engine::{Engine, Event};
use super::{Differences, Inbox};

/// How often time passes for the view.
const TICK: Duration = Duration::from_millis(20);
/// What clients are told that are sent away from a minority.
const NO_MAJORITY: &str = "this node has lost the majority of the cluster; try another";
/// How often time passes for the slots.
const SLOT_TICKS: u64 = 5;

/// The actor.
#[derive(Debug)]
pub struct Member;

/// What the actor works with.
#[derive(Clone, Debug)]
pub struct MemberParts {
    /// Time.
    pub clock: Clock,
    /// What carries frames and gossips.
    pub engine: Engine,
    /// Who is told of views.
    pub router: Router,
    /// Whose slots change hands.
    pub channels: Channels,
    /// What starts the links of new peers.
    pub inbox: Arc<Inbox>,
    /// What the others should have too.
    pub apps: Apps,
    /// What can be seen from outside.
    pub status: Arc<Status>,
    /// After how long alone a node begins a cluster.
    pub bootstrap_after: Duration,
    /// How long it stays out because it was stopped again and again.
    pub hold: Duration,
}

/// What can be seen of the member from outside.
#[derive(Debug, Default)]
pub struct Status {
    /// Why the seeds will not have this node.
    pub rejection: ArcSwapOption<String>,
    /// Other nodes as gossip knows them.
    pub seen: ArcSwapOption<Vec<super::engine::Seen>>,
    /// Whether this node must begin anew: the others may have gone on without it.
    pub is_fenced: AtomicBool,
    /// Told when it is fenced.
    pub fenced: Notify,
    /// The phase that the node says it is in.
    pub phase: ArcSwapOption<Phase>,
}

impl Status {
    /// Fences the node: nothing is accepted any more, and it begins anew.
    pub fn fence(&self, why: &str) {
        if !self.is_fenced.swap(true, Ordering::AcqRel) {
            tracing::error!(why, "this node is fenced and begins anew");
            self.fenced.notify_one();
        }
    }

    /// In what the other nodes differ from this one, which gossips by this engine.
    #[must_use]
    pub fn differences(&self, engine: &Engine) -> Differences {
        let seen = self.seen.load();
        Differences::between(&engine.facts(), seen.as_deref().map_or(&[], Vec::as_slice))
    }

    /// Whether the node is fenced.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::Acquire)
    }
}

/// What the actor is sent.
#[derive(Debug)]
pub enum Message {
    /// Something happened to a connection or in gossip.
    Event(Event),
    /// A peer has said how far it has come, and who its members are.
    Said(RelayId, Phase, Vec<RelayId>),
    /// The engine has failed for good.
    EngineFailed,
    /// Give all slots away.
    Drain,
    /// Time has passed.
    Tick,
}

impl ractor::Message for Message {}

/// The actor's state.
#[derive(Debug)]
pub struct State {
    parts: MemberParts,
    membership: Membership,
    /// The members of `view`, or of none while there is no node that serves.
    members: Vec<view::Member>,
    view: Option<Arc<View>>,
    /// Nodes that have other apps.
    strangers: Vec<NodeId>,
    ticks: u64,
    /// Whether the slots were told that they may be served, where only a majority may.
    has_lease: bool,
}

impl Member {
    /// Passes the engine's events on to the actor.
    pub async fn hear(mut events: mpsc::Receiver<Event>, member: ActorRef<Message>) {
        while let Some(event) = events.recv().await {
            if member.cast(Message::Event(event)).is_err() {
                return;
            }
        }
        // An actor that has stopped needs to know no more.
        let _ = member.cast(Message::EngineFailed);
    }
}

impl Actor for Member {
    type Msg = Message;
    type State = State;
    type Arguments = MemberParts;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        parts: MemberParts,
    ) -> Result<State, ActorProcessingErr> {
        let now = parts.clock.moment();
        let me = parts.router.me().clone();
        let quorum = parts.channels.lease().quorum();
        let start = now + parts.hold;
        let membership = Membership::new(me, (parts.bootstrap_after, quorum), start);
        myself.send_interval(TICK, || Message::Tick);
        let (members, strangers) = (Vec::new(), Vec::new());
        Ok(State { parts, membership, members, view: None, strangers, ticks: 0, has_lease: false })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Event(event) => state.event(event),
            Message::Said(peer, phase, members) => {
                state.apply(Input::Said(peer, phase, members));
            }
            Message::EngineFailed => return Err("the engine of the cluster failed".into()),
            Message::Drain => state.membership.drain(),
            Message::Tick => state.tick(),
        }
        state.update();
        Ok(())
    }
}

impl State {
    fn event(&mut self, event: Event) {
        let input = match event {
            Event::Up { peer, session } => {
                tracing::info!(peer = %peer.node, incarnation = peer.incarnation, "a link is up");
                self.parts.inbox.peer(&peer).connected(session, &self.parts.clock);
                self.say_what_it_sees(&peer);
                Input::Up(peer)
            }
            Event::Down { peer, session } => {
                tracing::warn!(peer = %peer.node, incarnation = peer.incarnation, "a link is down");
                if let Some(known) = self.parts.channels.peers().find(&peer) {
                    known.disconnected(session);
                }
                Input::Down(peer)
            }
            Event::DialFailed { peer, refused } => Input::DialFailed { peer, refused },
            Event::Rejected { address, reason } => {
                tracing::error!(%address, reason, "another node will not have this one");
                self.parts.status.rejection.store(Some(Arc::new(reason)));
                self.membership.rejected();
                return;
            }
            Event::Gossip(seen) => {
                let known = seen.iter().map(of_gossip).collect();
                self.parts.status.seen.store(Some(Arc::new(seen)));
                Input::Gossip(known)
            }
        };
        self.apply(input);
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.apply(Input::Tick);
        self.renew_lease();
        if self.ticks.is_multiple_of(SLOT_TICKS) {
            self.parts.channels.tick();
            self.compare_apps();
        }
    }

    /// Says when the apps of another node begin to differ from this one's, and when that is over.
    fn compare_apps(&mut self) {
        let differing = self.parts.status.differences(&self.parts.engine).apps;
        for peer in differing.iter().filter(|peer| !self.strangers.contains(peer)) {
            tracing::warn!(%peer, "a node has other apps than this one; see `handbell cluster status`");
        }
        for peer in self.strangers.iter().filter(|peer| !differing.contains(peer)) {
            tracing::info!(%peer, "a node has the same apps as this one again, or is gone");
        }
        self.strangers = differing;
    }

    /// Stops serving when the lease is over, and closes all connections: their clients find a node that
    /// is on the other side.
    fn renew_lease(&mut self) {
        let channels = self.parts.channels.clone();
        if channels.lease().quorum().is_none() {
            return;
        }
        channels.lease().renew(channels.peers().proofs());
        let has_lease = !channels.lease().is_over(self.parts.clock.moment());
        if std::mem::replace(&mut self.has_lease, has_lease) == has_lease {
            return;
        }
        channels.set_lease(has_lease);
        if has_lease {
            return tracing::info!("this node belongs to a majority and may serve");
        }
        tracing::error!("this node has lost the majority: it stops serving and closes connections");
        tokio::spawn(async move {
            let close = CloseCode::OverCapacity.because(NO_MAJORITY);
            channels.relay().close(usize::MAX, &close).await;
        });
    }

    fn apply(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.membership.apply(input, self.parts.clock.moment(), &mut effects);
        for effect in effects {
            match effect {
                Effect::Dial(peer, address) => self.parts.engine.dial(&peer, address),
                Effect::Superseded => {
                    self.parts.status.fence("a later life of this node is in the cluster");
                }
            }
        }
    }

    /// Takes the present view over if it has changed.
    fn update(&mut self) {
        let phase = self.membership.phase();
        self.parts.status.phase.store(Some(Arc::new(phase)));
        let suspects = self.membership.suspects();
        let members = self.membership.members();
        if members != self.members {
            self.members.clone_from(&members);
            self.members.iter().for_each(|member| self.say_what_it_sees(&member.id));
            self.install(View::new(members).map(Arc::new).as_ref());
        }
        let hash = self.view.as_ref().map_or(0, |view| view.hash());
        let digest = self.parts.apps.digest();
        self.parts.engine.announce(|facts| {
            facts.phase = phase;
            facts.view_hash = hash;
            facts.apps_digest = digest;
            facts.suspects = suspects;
        });
    }

    /// Tells a peer how far this node has come and whom it sees.
    fn say_what_it_sees(&self, peer: &RelayId) {
        let members = self.members.iter().map(|member| member.id.clone()).collect();
        let sees = wire::Message::Sees(self.membership.phase(), members);
        self.parts.channels.peers().send(peer, &sees);
    }

    fn install(&mut self, view: Option<&Arc<View>>) {
        let before = std::mem::replace(&mut self.view, view.cloned());
        let members = |view: Option<&Arc<View>>| -> Vec<RelayId> {
            let members = view.into_iter().flat_map(|view| view.members());
            members.map(|member| member.id.clone()).collect()
        };
        let present = members(view);
        let gone: Vec<RelayId> =
            members(before.as_ref()).into_iter().filter(|id| !present.contains(id)).collect();
        let names: Vec<&str> = present.iter().map(|id| id.node.as_str()).collect();
        let hash = view.map_or(0, |view| view.hash());
        tracing::info!(members = ?names, hash = format!("{hash:016x}"), "the view has changed");
        let MemberParts { router, channels, .. } = &self.parts;
        channels.peers().set_view(view.cloned());
        router.set_view(view.cloned());
        for id in &gone {
            channels.peers().remove(id);
        }
        if let Some(view) = view {
            channels.set_view(view, &gone);
        }
    }
}

fn of_gossip(seen: &super::engine::Seen) -> Seen {
    let super::engine::Seen { facts, is_live } = seen;
    Seen {
        id: facts.id.clone(),
        address: facts.cluster,
        phase: facts.phase,
        is_live: *is_live,
        suspects: facts.suspects.clone(),
    }
}
