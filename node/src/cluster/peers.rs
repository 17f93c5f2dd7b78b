//! The links to the other nodes: messages go in here, are batched, and reach the peer once and in
//! order as long as it lives and stays in the view.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use proto::cluster::link::{Health, Link, Received};
use proto::cluster::message::{Answer, Ask, Message};
use proto::cluster::view::View;
use proto::{Moment, RelayId};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::channels::Replier;
use crate::clock::Clock;
use crate::shrink;

use super::engine::Engine;

mod status;

pub use status::LinkStatus;

/// The lane of frames that may overtake messages.
const CONTROL: usize = 0;
/// The lane of messages.
const DATA: usize = 1;
/// How often an idle link is looked at.
const IDLE: Duration = Duration::from_millis(100);
/// Questions that each link has room for always.
const ASKS_KEPT: usize = 64;
/// How long an acknowledgement may wait.
const BUSY: Duration = Duration::from_millis(2);

/// The handle of all links.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Table>);

#[derive(Debug)]
struct Table {
    clock: Clock,
    engine: OnceLock<Engine>,
    peers: ArcSwap<HashMap<RelayId, Arc<Peer>>>,
    /// Guards changes of `peers`.
    changing: Mutex<()>,
    view: ArcSwapOption<View>,
    asked: AtomicU64,
}

/// One other node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: RelayId,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug)]
struct State {
    link: Link,
    session: Option<u64>,
    /// Questions without an answer.
    asks: HashMap<u64, Replier>,
    /// The peer's visits without an answer: dropped when nobody waits there any more.
    visits: HashMap<u64, oneshot::Sender<()>>,
    /// Messages may be lost: the slots are to be told.
    is_reset: bool,
    is_closed: bool,
    sent: u64,
    received: u64,
}

impl State {
    fn take_ask(&mut self, number: u64) -> Option<Replier> {
        let replier = self.asks.remove(&number);
        shrink::map(&mut self.asks, ASKS_KEPT);
        replier
    }
}

impl Peers {
    /// No links.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Table {
            clock,
            engine: OnceLock::new(),
            peers: ArcSwap::default(),
            changing: Mutex::default(),
            view: ArcSwapOption::empty(),
            asked: AtomicU64::new(0),
        }))
    }

    /// Gives the links what carries their frames. Once; a single node never does.
    pub fn connect(&self, engine: Engine) {
        if self.0.engine.set(engine).is_err() {
            tracing::error!("the links have their engine already");
        }
    }

    /// What carries frames, in a cluster.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        self.0.engine.get()
    }

    /// The present view.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.0.view.load_full()
    }

    /// Takes a new view over.
    pub fn set_view(&self, view: Option<Arc<View>>) {
        self.0.view.store(view);
    }

    /// Sends a message. If the peer is gone it is lost with it, and whoever takes its place asks.
    pub fn send(&self, to: &RelayId, message: &Message) {
        let (kind, body) = message.encode();
        self.send_encoded(to, kind, &body);
    }

    /// Sends a message that was encoded for several peers.
    pub fn send_encoded(&self, to: &RelayId, kind: u8, body: &[u8]) {
        if let Some(peer) = self.0.peers.load().get(to) {
            peer.push(kind, body, &self.0.clock);
        }
    }

    /// Asks a peer. The answer comes through the replier; that none will come does too.
    pub fn ask(&self, to: &RelayId, ask: Ask, replier: Replier) {
        let asked = self.question(to, usize::MAX, replier, |number| Message::Ask(number, ask));
        if let Err(replier) = asked {
            // It can be sent to another node when the view has changed.
            replier.answer(Answer::NotOwner);
        }
    }

    /// Sends what a peer is to answer, if the peer can be reached and no more bytes wait for it than
    /// `backlog_max`. Returns the number of the question, or the replier if nothing was sent.
    pub(super) fn question(
        &self,
        to: &RelayId,
        backlog_max: usize,
        replier: Replier,
        message: impl FnOnce(u64) -> Message,
    ) -> Result<u64, Replier> {
        let peers = self.0.peers.load();
        let Some(peer) = peers.get(to) else { return Err(replier) };
        let now = self.0.clock.moment();
        let mut state = peer.lock();
        let is_reached = state.link.is_connected() && state.link.health(now) == Health::Up;
        if !is_reached || state.link.backlog() > backlog_max {
            return Err(replier);
        }
        let number = self.0.asked.fetch_add(1, Ordering::Relaxed);
        state.asks.insert(number, replier);
        drop(state);
        let (kind, body) = message(number).encode();
        peer.push(kind, &body, &self.0.clock);
        Ok(number)
    }

    /// Nobody waits for an answer any more.
    pub(super) fn withdraw(&self, to: &RelayId, number: u64) {
        if let Some(peer) = self.0.peers.load().get(to) {
            let replier = peer.lock().take_ask(number);
            drop(replier);
        }
    }

    /// The peer has answered.
    pub(super) fn answered(&self, peer: &Peer, number: u64, answer: Answer) {
        // An answer to a question that was given up is late.
        let replier = peer.lock().take_ask(number);
        if let Some(replier) = replier {
            replier.answer(answer);
        }
    }

    /// The peer, which is new if nothing was heard of it before.
    pub(super) fn peer(&self, id: &RelayId, start: impl FnOnce(Arc<Peer>)) -> Arc<Peer> {
        if let Some(peer) = self.0.peers.load().get(id) {
            return Arc::clone(peer);
        }
        let _changing = lock(&self.0.changing);
        if let Some(peer) = self.0.peers.load().get(id) {
            return Arc::clone(peer);
        }
        let now = self.0.clock.now();
        let peer = Arc::new(Peer {
            id: id.clone(),
            state: Mutex::new(State {
                link: Link::new(now.unix_ms, now.moment),
                session: None,
                asks: HashMap::new(),
                visits: HashMap::new(),
                is_reset: false,
                is_closed: false,
                sent: 0,
                received: 0,
            }),
            wake: Notify::new(),
        });
        let mut peers = HashMap::clone(&self.0.peers.load());
        peers.insert(id.clone(), Arc::clone(&peer));
        self.0.peers.store(Arc::new(peers));
        start(Arc::clone(&peer));
        peer
    }

    /// A peer is no longer a member: what was on its way is lost, and its questions go unanswered.
    pub(super) fn remove(&self, id: &RelayId) {
        let changing = lock(&self.0.changing);
        let mut peers = HashMap::clone(&self.0.peers.load());
        let removed = peers.remove(id);
        self.0.peers.store(Arc::new(peers));
        drop(changing);
        if let Some(peer) = removed {
            let (session, asks) = {
                let mut state = peer.lock();
                state.is_closed = true;
                state.visits.clear();
                (state.session.take(), std::mem::take(&mut state.asks))
            };
            drop(asks);
            peer.wake.notify_one();
            if let (Some(engine), Some(session)) = (self.engine(), session) {
                engine.close(session);
            }
        }
    }

    pub(super) fn find(&self, id: &RelayId) -> Option<Arc<Peer>> {
        self.0.peers.load().get(id).map(Arc::clone)
    }

    /// Sends what waits for a peer, in batches, until the peer is removed. `on_reset` is told when
    /// messages may have been lost.
    pub(super) async fn drive(self, peer: Arc<Peer>, on_reset: impl Fn(&RelayId)) {
        let mut pause = IDLE;
        loop {
            let _ = timeout(pause, peer.wake.notified()).await;
            // What others are about to say goes along.
            yield_now().await;
            let Some(is_busy) = self.send_frames(&peer, &on_reset) else {
                return;
            };
            pause = if is_busy { BUSY } else { IDLE };
        }
    }

    fn send_frames(&self, peer: &Peer, on_reset: &impl Fn(&RelayId)) -> Option<bool> {
        let now = self.0.clock.moment();
        let mut state = peer.lock();
        if state.is_closed {
            return None;
        }
        if std::mem::take(&mut state.is_reset) {
            state.visits.clear();
            let asks = std::mem::take(&mut state.asks);
            drop(state);
            drop(asks);
            tracing::warn!(peer = %peer.id.node, "a link was reset; what was on its way may be lost");
            on_reset(&peer.id);
            state = peer.lock();
        }
        state.link.tick(now);
        let engine = self.engine();
        while let (Some(session), Some(engine)) = (state.session, engine)
            && let Some(frame) = state.link.poll(now)
        {
            let lane = if frame.is_batch { DATA } else { CONTROL };
            state.sent += u64::from(frame.is_batch);
            if !engine.send(session, lane, frame.bytes) {
                state.link.disconnected();
                state.session = None;
            }
        }
        let stalled = state.link.health(now) == Health::Stalled;
        if let (true, Some(session), Some(engine)) = (stalled, state.session, engine) {
            tracing::warn!(peer = %peer.id.node, "a peer is silent; the connection is closed");
            state.link.disconnected();
            state.session = None;
            engine.close(session);
        }
        Some(state.link.backlog() > 0 || state.link.owes_answer())
    }

    /// When the members of the view are known to have heard this node.
    #[must_use]
    pub fn proofs(&self) -> Vec<Moment> {
        let (view, peers) = (self.view(), self.0.peers.load());
        let is_member = |id: &RelayId| view.as_ref().is_some_and(|view| view.has(id));
        let members = peers.iter().filter(|(id, _)| is_member(id));
        members.map(|(_, peer)| peer.lock().link.proof()).collect()
    }
}

impl Peer {
    fn push(&self, kind: u8, body: &[u8], clock: &Clock) {
        let mut state = self.lock();
        if state.link.push(kind, body).is_err() {
            state.link.reset(clock.moment());
            state.is_reset = true;
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn connected(&self, session: u64, clock: &Clock) {
        let mut state = self.lock();
        state.session = Some(session);
        state.link.connected(clock.moment());
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn disconnected(&self, session: u64) {
        let mut state = self.lock();
        if state.session == Some(session) {
            state.session = None;
            state.link.disconnected();
        }
    }

    /// Takes in a frame. What is in it is to be dealt with before the next.
    pub(super) fn receive(&self, frame: Bytes, clock: &Clock) -> Option<Received> {
        let now = clock.moment();
        let mut state = self.lock();
        let received = match state.link.receive(frame, now) {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(peer = %self.id.node, %error, "a frame cannot be read");
                return None;
            }
        };
        if received.is_forgotten {
            state.link.reset(now);
            state.is_reset = true;
        }
        state.received += u64::from(!received.messages.is_empty());
        drop(state);
        self.wake.notify_one();
        Some(received)
    }

    /// Nobody waits for answers any more that the peer may have lost, and it for none of ours.
    pub(super) fn give_up_asks(&self) {
        let mut state = self.lock();
        state.visits.clear();
        let asks = std::mem::take(&mut state.asks);
        drop(state);
        drop(asks);
    }

    /// Notes a visit of the peer's. Says when nobody waits for the answer any more.
    pub(super) fn visited_by(&self, number: u64) -> oneshot::Receiver<()> {
        let (left, has_left) = oneshot::channel();
        self.lock().visits.insert(number, left);
        has_left
    }

    /// A visit of the peer's is over.
    pub(super) fn left(&self, number: u64) {
        let mut state = self.lock();
        state.visits.remove(&number);
        shrink::map(&mut state.visits, ASKS_KEPT);
    }

    /// Bytes that wait for the peer.
    pub(super) fn backlog(&self) -> usize {
        self.lock().link.backlog()
    }

    pub(super) fn done(&self) {
        self.lock().link.done();
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
