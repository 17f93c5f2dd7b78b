//! What is done about each session, stage by stage.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use proto::RelayId;
use proto::cluster::handshake::{Agreed, Refusal};
use proto::name::NodeId;
use ractor::{ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use ractor_cluster::NodeServerMessage;
use ractor_cluster::node::NodeServerSessionInformation;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::link::{Attempt, EndOfLane, Link, Origin, Stage, answer, remind};
use super::server::{full_name, start_gateway, start_server};
use super::{ATTEMPT_MAX, CLOSING_MAX, DIAL_MAX, Dialled, Message, OPENING_MAX, Parts};
use crate::cluster::engine::dial;
use crate::cluster::engine::session::{Session, deliver};
use crate::cluster::engine::stream::{Labelled, Stream, label, session_of};
use crate::cluster::engine::{Event, Inbox, LANES, Seen, Shared, gateway};

/// Reasons that are remembered so as not to be logged again.
const REASONS_MAX: usize = 1024;

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
    /// Why others refused, as it was logged last.
    reasons: BTreeMap<SocketAddr, String>,
    lanes: JoinSet<()>,
    tasks: JoinSet<()>,
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
            reasons: BTreeMap::new(),
            lanes: JoinSet::new(),
            tasks: JoinSet::new(),
        })
    }

    /// A node will not have us, or we will not have it: told every time, logged when it is new.
    pub(super) async fn rejected(&mut self, address: SocketAddr, reason: String) {
        if self.reasons.get(&address) != Some(&reason) {
            tracing::error!(%address, reason, "a node and this one do not come together");
            if self.reasons.len() >= REASONS_MAX {
                self.reasons.clear();
            }
            self.reasons.insert(address, reason.clone());
        }
        self.tell(Event::Rejected { address, reason }).await;
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
            if let Some(older) = self.link_of(&facts.id.node)
                && self.links[&older].session.peer.incarnation < facts.id.incarnation
            {
                self.close(older, "a later life of the node is known");
            }
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
        let since = Instant::now();
        let (shared, myself, to) = (Arc::clone(&self.shared), self.myself.clone(), peer.clone());
        let dial = tokio::spawn(async move {
            let outcome = dial::link(&shared, &to, address).await;
            let dialled = Dialled { peer: to, address, began: since, outcome };
            // The engine may have been stopped meanwhile.
            let _ = myself.cast(Message::Dialled(dialled));
        });
        self.attempts.insert(peer, Attempt { dial: Some(dial.abort_handle()), since });
    }

    fn attempt(&mut self, peer: &RelayId) -> Option<&Attempt> {
        self.attempts.retain(|_, attempt| attempt.since.elapsed() < ATTEMPT_MAX);
        self.attempts.get(peer)
    }

    pub(super) async fn dialled(&mut self, dialled: Dialled) {
        let Dialled { peer, address, began, outcome } = dialled;
        self.attempts.remove(&peer);
        match outcome {
            Ok((agreed, stream)) if self.link_of(&peer.node).is_none() => {
                let left = DIAL_MAX.saturating_sub(began.elapsed());
                self.register(agreed, stream, Origin::Dialled { left });
            }
            // The peer came to us in the meantime.
            Ok(_) => self.tell(Event::DialFailed { peer, refused: false }).await,
            Err(error) => {
                tracing::debug!(peer = %peer.node, %address, %error, "a dial failed");
                if let Some(refusal) = error.concerns_a_person() {
                    self.rejected(address, refusal.to_string()).await;
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

    pub(super) fn admit(
        &mut self,
        peer: &RelayId,
        is_probe: bool,
        reply: RpcReplyPort<Result<(), Refusal>>,
    ) {
        let known = self.known.get(&peer.node).copied().unwrap_or(0);
        if known > peer.incarnation {
            return answer(reply, Err(Refusal::stale(&peer.node, known)));
        }
        if is_probe {
            return answer(reply, Ok(()));
        }
        // Of two that dial each other the smaller one's attempt goes on.
        let is_smaller = self.shared.me.id < *peer;
        let dial = self.attempt(peer).and_then(|attempt| attempt.dial.clone());
        let is_opening = |link: &Link| {
            link.is_dialled && link.stage == Stage::Opening && link.session.peer == *peer
        };
        if is_smaller && (dial.is_some() || self.links.values().any(is_opening)) {
            return answer(reply, Err(Refusal::busy()));
        }
        self.learn(peer);
        self.attempts.insert(peer.clone(), Attempt { dial, since: Instant::now() });
        let Some(number) = self.link_of(&peer.node) else {
            return answer(reply, Ok(()));
        };
        if let Some(link) = self.links.get_mut(&number) {
            link.waiting.push(reply);
        }
        self.close(number, "the peer has begun a new one");
    }

    pub(super) fn accepted(&mut self, agreed: Agreed, stream: Stream) {
        let dial = self.attempts.remove(&agreed.peer).and_then(|attempt| attempt.dial);
        if let Some(dial) = &dial {
            dial.abort();
        }
        // Otherwise two connections of one peer were admitted at once; it will dial again.
        if self.link_of(&agreed.peer.node).is_none() {
            self.register(agreed, stream, Origin::Accepted { is_dialled: dial.is_some() });
        }
    }

    /// Hands an authenticated connection over to `ractor_cluster`.
    fn register(&mut self, agreed: Agreed, stream: Stream, origin: Origin) {
        let Agreed { peer, session: number } = agreed;
        self.learn(&peer);
        let (session, arrivals) = Session::new(number, peer);
        let (is_server, is_dialled, left) = match origin {
            Origin::Dialled { left } => (false, true, left),
            Origin::Accepted { is_dialled } => (true, is_dialled, OPENING_MAX),
        };
        let link = Link {
            session,
            stage: Stage::Opening,
            is_dialled,
            actor: None,
            arrivals: Some(arrivals),
            waiting: Vec::new(),
        };
        self.links.insert(number, link);
        self.publish();
        let stream = Box::new(Labelled { stream, session: number });
        // If the server has failed, so does this actor.
        let _ = self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
        remind(&self.myself, number, left);
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
        for reply in link.waiting {
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
