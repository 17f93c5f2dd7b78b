//! What is done about each session, stage by stage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::RelayId;
use proto::cluster::handshake::{Agreed, Refusal};
use proto::name::NodeId;
use ractor::{ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeServerMessage, NodeSessionMessage};
use std::net::SocketAddr;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::server::{full_name, start_gateway, start_server};
use super::{ATTEMPT_MAX, CLOSING_MAX, DIAL_MAX, Dialled, Message, OPENING_MAX, Parts};
use crate::cluster::engine::dial;
use crate::cluster::engine::session::{Arrivals, Session, deliver};
use crate::cluster::engine::stream::{Labelled, Stream, label, session_of};
use crate::cluster::engine::{Event, Inbox, LANES, Seen, Shared, gateway};

/// The sessions and what belongs to them.
pub(in crate::cluster::engine) struct State {
    myself: ActorRef<Message>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    inbox: Arc<dyn Inbox>,
    server: ActorRef<NodeServerMessage>,
    gateways: BTreeMap<ActorId, usize>,
    links: BTreeMap<u64, Link>,
    /// Handshakes of both directions that are under way.
    attempts: BTreeMap<RelayId, Attempt>,
    /// The latest life of each node that was ever heard of.
    known: BTreeMap<NodeId, u64>,
    lanes: JoinSet<()>,
    tasks: JoinSet<()>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    is_dial: bool,
    since: Instant,
}

/// A session and what only its owner knows of it.
struct Link {
    session: Arc<Session>,
    stage: Stage,
    is_dialled: bool,
    actor: Option<ActorRef<NodeSessionMessage>>,
    arrivals: Option<Arrivals>,
    /// Peers of the same id that wait for the end of this session.
    waiting: Vec<(RelayId, RpcReplyPort<Result<(), Refusal>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Up,
    Closing { was_up: bool },
}

impl State {
    pub(super) async fn start(parts: Parts, myself: ActorRef<Message>) -> Result<Self, SpawnErr> {
        let Parts { shared, events, inbox } = parts;
        let server = start_server(&shared, &myself).await?;
        let mut gateways = BTreeMap::new();
        for lane in 0..LANES {
            gateways.insert(start_gateway(&shared, lane, &myself).await?, lane);
        }
        Ok(Self {
            myself,
            shared,
            events,
            inbox,
            server,
            gateways,
            links: BTreeMap::new(),
            attempts: BTreeMap::new(),
            known: BTreeMap::new(),
            lanes: JoinSet::new(),
            tasks: JoinSet::new(),
        })
    }

    /// Takes tasks that end with this state.
    pub(super) fn keep(&mut self, tasks: JoinSet<()>) {
        self.tasks = tasks;
    }

    /// Frees what is left of lanes that have ended.
    pub(super) fn forget_lanes(&mut self) {
        while self.lanes.try_join_next().is_some() {}
    }

    /// A child has ended: a gateway is replaced, without the node server nothing goes on.
    pub(super) async fn replace(
        &mut self,
        child: ActorId,
        error: &str,
    ) -> Result<(), ActorProcessingErr> {
        let Some(lane) = self.gateways.remove(&child) else {
            return Err(format!("the cluster's node server has failed: {error}").into());
        };
        tracing::error!(lane, error, "a cluster gateway failed; all sessions are closed");
        // Peers know the gateway that is gone, so they have to look for the new one.
        for number in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(number, "a gateway failed");
        }
        self.gateways.insert(start_gateway(&self.shared, lane, &self.myself).await?, lane);
        Ok(())
    }

    pub(super) async fn gossip(&mut self, seen: Vec<Seen>) {
        for Seen { facts, .. } in &seen {
            self.learn(&facts.id);
        }
        self.tell(Event::Gossip(seen)).await;
    }

    pub(super) async fn tell(&self, event: Event) {
        // Nobody listens any more when the node goes down.
        let _ = self.events.send(event).await;
    }

    pub(super) fn dial(&mut self, peer: RelayId, address: SocketAddr) {
        let is_linked = self.links.values().any(|link| link.session.peer == peer);
        if is_linked || self.attempt(&peer).is_some() {
            return;
        }
        let began = Instant::now();
        self.attempts.insert(peer.clone(), Attempt { is_dial: true, since: began });
        let (shared, myself) = (Arc::clone(&self.shared), self.myself.clone());
        tokio::spawn(async move {
            let outcome = dial::link(&shared, &peer, address).await;
            // The engine may have been stopped meanwhile.
            let _ = myself.cast(Message::Dialled(Dialled { peer, address, began, outcome }));
        });
    }

    fn attempt(&mut self, peer: &RelayId) -> Option<Attempt> {
        self.attempts.retain(|_, attempt| attempt.since.elapsed() < ATTEMPT_MAX);
        self.attempts.get(peer).copied()
    }

    pub(super) async fn dialled(&mut self, dialled: Dialled) {
        let Dialled { peer, address, began, outcome } = dialled;
        self.attempts.remove(&peer);
        match outcome {
            Ok((agreed, stream)) if self.link_of(&peer.node).is_none() => {
                let left = DIAL_MAX.saturating_sub(began.elapsed());
                self.register(agreed, stream, Some(left));
            }
            // The peer came to us in the meantime.
            Ok(_) => self.tell(Event::DialFailed { peer, refused: false }).await,
            Err(error) => {
                tracing::debug!(peer = %peer.node, %address, %error, "a dial failed");
                if let Some(refusal) = error.concerns_a_person() {
                    tracing::warn!(peer = %peer.node, %address, reason = %refusal, "a node refused this one");
                    let reason = refusal.to_string();
                    self.tell(Event::Rejected { address, reason }).await;
                }
                self.tell(Event::DialFailed { peer, refused: error.is_absent() }).await;
            }
        }
    }

    fn link_of(&self, node: &NodeId) -> Option<u64> {
        self.links.iter().find(|(_, link)| link.session.peer.node == *node).map(|(&n, _)| n)
    }

    pub(super) fn learn(&mut self, id: &RelayId) {
        let known = self.known.entry(id.node.clone()).or_default();
        *known = id.incarnation.max(*known);
    }

    pub(super) fn admit(&mut self, peer: RelayId, reply: RpcReplyPort<Result<(), Refusal>>) {
        let known = self.known.get(&peer.node).copied().unwrap_or(0);
        let is_dialled = self.attempt(&peer).is_some_and(|attempt| attempt.is_dial);
        if known > peer.incarnation {
            answer(reply, Err(Refusal::stale(&peer.node, known)));
        } else if is_dialled && self.shared.me.id < peer {
            answer(reply, Err(Refusal::busy()));
        } else {
            self.learn(&peer);
            self.attempts
                .insert(peer.clone(), Attempt { is_dial: is_dialled, since: Instant::now() });
            match self.link_of(&peer.node) {
                None => answer(reply, Ok(())),
                Some(number) => {
                    if let Some(link) = self.links.get_mut(&number) {
                        link.waiting.push((peer, reply));
                    }
                    self.close(number, "the peer has begun a new one");
                }
            }
        }
    }

    pub(super) fn accepted(&mut self, agreed: Agreed, stream: Stream) {
        self.attempts.remove(&agreed.peer);
        // Two connections of one peer were admitted at once; it will dial again.
        if self.link_of(&agreed.peer.node).is_none() {
            self.register(agreed, stream, None);
        }
    }

    /// Hands an authenticated connection over to `ractor_cluster`.
    fn register(&mut self, agreed: Agreed, stream: Stream, dial_left: Option<Duration>) {
        let Agreed { peer, session: number } = agreed;
        self.learn(&peer);
        let (session, arrivals) = Session::new(number, peer);
        let link = Link {
            session,
            stage: Stage::Opening,
            is_dialled: dial_left.is_some(),
            actor: None,
            arrivals: Some(arrivals),
            waiting: Vec::new(),
        };
        self.links.insert(number, link);
        self.publish();
        let stream = Box::new(Labelled { stream, session: number });
        let is_server = dial_left.is_none();
        // If the server has failed, so does this actor.
        let _ = self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
        remind(&self.myself, number, dial_left.unwrap_or(OPENING_MAX));
    }

    fn publish(&self) {
        let is_open = |link: &&Link| !matches!(link.stage, Stage::Closing { .. });
        let sessions = self.links.values().filter(is_open).map(|link| Arc::clone(&link.session));
        self.shared.sessions.publish(sessions.map(|session| (session.number, session)).collect());
    }

    pub(super) fn opened(&mut self, opened: NodeServerSessionInformation) {
        let link = session_of(&opened.peer_addr).and_then(|number| self.links.get_mut(&number));
        match link {
            Some(link) if link.stage == Stage::Opening => link.actor = Some(opened.actor),
            Some(link) => {
                opened.actor.stop(None);
                link.actor = Some(opened.actor);
            }
            // It came through the built-in listener, which nobody should know.
            None => opened.actor.stop(Some("not authenticated".into())),
        }
    }

    pub(super) async fn ready(&mut self, ready: &NodeServerSessionInformation) {
        let Some(number) = session_of(&ready.peer_addr) else {
            return;
        };
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        let peer = link.session.peer.clone();
        let name = ready.peer_name.as_ref().map(|name| name.name.as_str());
        let gateways = gateway::of_peer(ready.node_id);
        let (Stage::Opening, Some(gateways), true, Some(arrivals)) =
            (link.stage, gateways, name == Some(&full_name(&peer)), link.arrivals.take())
        else {
            return self.close(number, "it is not what it should be");
        };
        link.stage = Stage::Up;
        link.session.open(gateways);
        tracing::info!(peer = %peer.node, incarnation = peer.incarnation, session = %ready.peer_addr, "a cluster link is up");
        self.tell(Event::Up { peer: peer.clone(), session: number }).await;
        for (lane, arrivals) in arrivals.into_iter().enumerate() {
            let end = EndOfLane(number, self.myself.clone());
            let delivery = deliver((peer.clone(), number), lane, arrivals, Arc::clone(&self.inbox));
            self.lanes.spawn(async move {
                let _end = end;
                delivery.await;
            });
        }
    }

    pub(super) async fn disconnected(&mut self, session: &NodeServerSessionInformation) {
        if let Some(number) = session_of(&session.peer_addr) {
            self.end(number).await;
        }
    }

    /// The end of a session: whoever waited for it goes on.
    async fn end(&mut self, number: u64) {
        let Some(link) = self.links.remove(&number) else {
            return;
        };
        self.publish();
        let peer = link.session.peer.clone();
        if matches!(link.stage, Stage::Up | Stage::Closing { was_up: true }) {
            tracing::info!(peer = %peer.node, incarnation = peer.incarnation, session = %label(number), "a cluster link is down");
            self.tell(Event::Down { peer, session: number }).await;
        } else if link.is_dialled {
            self.tell(Event::DialFailed { peer, refused: false }).await;
        }
        for (_, reply) in link.waiting {
            answer(reply, Ok(()));
        }
    }

    pub(super) fn close(&mut self, number: u64, reason: &'static str) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if matches!(link.stage, Stage::Closing { .. }) {
            return;
        }
        tracing::debug!(peer = %link.session.peer.node, reason, "a cluster link is closed");
        link.stage = Stage::Closing { was_up: link.stage == Stage::Up };
        if let Some(actor) = &link.actor {
            actor.stop(Some(reason.into()));
        }
        self.publish();
        remind(&self.myself, number, CLOSING_MAX);
    }

    pub(super) async fn overdue(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else {
            return;
        };
        match (link.stage, &link.actor) {
            (Stage::Up, _) => {}
            (Stage::Opening, _) => self.close(number, "it took too long to open"),
            (Stage::Closing { .. }, Some(actor)) => actor.kill(),
            // It was never started.
            (Stage::Closing { .. }, None) => self.end(number).await,
        }
    }
}

/// Closes the session when a lane's task has ended: when that panicked, the lane would be dead.
struct EndOfLane(u64, ActorRef<Message>);

impl Drop for EndOfLane {
    fn drop(&mut self) {
        // The session has usually ended already, and perhaps the engine.
        let _ = self.1.cast(Message::Close(self.0));
    }
}

fn answer(reply: RpcReplyPort<Result<(), Refusal>>, answer: Result<(), Refusal>) {
    // Whoever asked may have been gone for long.
    let _ = reply.send(answer);
}

fn remind(myself: &ActorRef<Message>, number: u64, after: Duration) {
    let myself = myself.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        // The engine may have been stopped meanwhile.
        let _ = myself.cast(Message::Overdue(number));
    });
}
