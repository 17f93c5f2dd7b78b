//! Requests of clients whose session another node has: they go there over the link, and the client
//! waits for what comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use proto::RelayId;
use proto::cluster::message::{Answer, Message};
use proto::cluster::visit::{Visit, Visited};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::channels::Replier;

use super::Peers;
use super::peers::Peer;

/// Bytes that may wait for a peer before visits and their answers have to wait: what channels say goes
/// first, and a backlog that overflows would reset the link.
const BACKLOG_MAX: usize = 4 << 20;
/// How often a peer with a backlog is looked at by who has an answer for it.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How long a client waits for its request to leave. Links that break are back before that.
const LEAVES_WITHIN: Duration = Duration::from_millis(4_500);
/// The pause before a request that could not leave is tried again. Each further one is twice as long,
/// up to [`TRY_AGAIN_AFTER_MAX`].
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);
const TRY_AGAIN_AFTER_MAX: Duration = Duration::from_millis(100);

/// A request could not be brought to its session in time. The session has not heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session cannot be reached now; try again")]
pub struct Unreached;

/// A request on its way. If it is dropped before it is answered, the session hears that its client has
/// gone.
#[derive(Debug)]
struct Visiting {
    peers: Peers,
    to: RelayId,
    number: Option<u64>,
    answer: oneshot::Receiver<Answer>,
}

impl Peers {
    /// The member with this incarnation.
    #[must_use]
    pub fn member(&self, incarnation: u64) -> Option<RelayId> {
        let view = self.view()?;
        let mut ids = view.members().iter().map(|member| &member.id);
        ids.find(|id| id.incarnation == incarnation).cloned()
    }

    /// Takes a client's request to the node that has its session, as soon as there is a way and room on
    /// it.
    ///
    /// # Errors
    /// [`Unreached`].
    pub async fn visit(&self, to: &RelayId, visit: Visit) -> Result<Visited, Unreached> {
        let deadline = Instant::now() + LEAVES_WITHIN;
        let mut pause = TRY_AGAIN_AFTER;
        loop {
            if let Some(visiting) = self.set_out(to, &visit) {
                return Ok(visiting.await);
            }
            if self.view().is_none_or(|view| !view.has(to)) {
                return Ok(Visited::Gone);
            }
            if Instant::now() + pause >= deadline {
                return Err(Unreached);
            }
            sleep(pause).await;
            pause = (pause * 2).min(TRY_AGAIN_AFTER_MAX);
        }
    }

    fn set_out(&self, to: &RelayId, visit: &Visit) -> Option<Visiting> {
        let (replier, answer) = Replier::local();
        let message = |number| Message::Visit(number, visit.clone());
        let number = self.question(to, BACKLOG_MAX, replier, message).ok()?;
        Some(Visiting { peers: self.clone(), to: to.clone(), number: Some(number), answer })
    }

    /// Answers a peer's visit, once `answer` is there and there is room for it on the link.
    pub(super) fn receive_visit(
        &self,
        peer: &Arc<Peer>,
        number: u64,
        answer: impl Future<Output = Visited> + Send + 'static,
    ) {
        let (peers, peer, left) = (self.clone(), Arc::clone(peer), peer.visited_by(number));
        tokio::spawn(async move {
            let answered = async {
                let visited = answer.await;
                while peer.backlog() > BACKLOG_MAX {
                    sleep(LOOK_AGAIN_AFTER).await;
                }
                visited
            };
            tokio::select! {
                visited = answered => {
                    peer.left(number);
                    peers.send(&peer.id, &Message::Answer(number, Answer::Visited(visited)));
                }
                // Dropped or said: nobody waits there any more.
                _ = left => {}
            }
        });
    }
}

impl Future for Visiting {
    type Output = Visited;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Visited> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        self.number = None;
        Poll::Ready(match answer {
            Ok(Answer::Visited(visited)) => visited,
            // The node is gone, or what it said is lost with a link.
            _ => Visited::Gone,
        })
    }
}

impl Drop for Visiting {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.peers.withdraw(&self.to, number);
            self.peers.send(&self.to, &Message::Left(number));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proto::cluster::view::{Member, Phase, View};
    use proto::cluster::visit::Errand;
    use proto::name::NodeId;

    use crate::clock::Clock;

    use super::*;

    /// A member that can be reached. What it answers, a test says.
    pub(crate) struct Elsewhere {
        pub(crate) peers: Peers,
        pub(crate) id: RelayId,
        peer: Arc<Peer>,
    }

    impl Elsewhere {
        pub(crate) fn reached() -> Self {
            let (peers, peer, clock) = peers();
            peer.connected(1, &clock);
            Self { peers, id: peer.id.clone(), peer }
        }

        /// Answers the one visit that is under way or comes, which has this number.
        pub(crate) async fn answers(&self, number: u64, visited: Visited) {
            while self.peers.status()[0].asks == 0 {
                sleep(TRY_AGAIN_AFTER).await;
            }
            self.peers.answered(&self.peer, number, Answer::Visited(visited));
        }
    }

    /// Links to one peer that is a member, and the peer.
    fn peers() -> (Peers, Arc<Peer>, Clock) {
        let clock = Clock::start();
        let peers = Peers::new(clock);
        let id = RelayId { node: NodeId::parse("b").unwrap(), incarnation: 2 };
        let member = Member { id: id.clone(), phase: Phase::Serving };
        peers.set_view(View::new(vec![member]).map(Arc::new));
        let peer = peers.peer(&id, |_| {});
        (peers, peer, clock)
    }

    fn visit(bytes: usize) -> Visit {
        Visit { id: "session".into(), errand: Errand::Post(vec![0; bytes].into()) }
    }

    #[tokio::test]
    async fn visits_never_fill_a_link_to_its_end() {
        let (peers, peer, clock) = peers();
        peer.connected(1, &clock);
        let under_way: Vec<Visiting> =
            (0..1_000).map_while(|_| peers.set_out(&peer.id, &visit(100_000))).collect();
        assert_eq!(under_way.len(), BACKLOG_MAX / 100_000 + 1);
        assert!(peer.backlog() < BACKLOG_MAX + 200_000, "{}", peer.backlog());
        // Others may use it.
        let (replier, _answer) = Replier::local();
        assert!(peers.question(&peer.id, usize::MAX, replier, Message::Left).is_ok());
    }

    #[tokio::test]
    async fn a_visit_waits_for_the_link_to_be_there() {
        let (peers, peer, clock) = peers();
        let (peers, to) = (peers.clone(), peer.id.clone());
        let visiting = {
            let (peers, to) = (peers.clone(), to.clone());
            tokio::spawn(async move { peers.visit(&to, visit(1)).await })
        };
        sleep(2 * TRY_AGAIN_AFTER).await;
        assert_eq!(peer.backlog(), 0);
        peer.connected(1, &clock);
        while peer.backlog() == 0 {
            sleep(TRY_AGAIN_AFTER).await;
        }
        peers.answered(&peer, 0, Answer::Visited(Visited::Taken));
        assert_eq!(visiting.await.unwrap(), Ok(Visited::Taken));
    }

    #[tokio::test]
    async fn a_session_is_gone_with_its_node_and_only_then() {
        let (peers, peer, _) = peers();
        assert_eq!(peers.visit(&peer.id, visit(1)).await, Err(Unreached));
        peers.set_view(None);
        assert_eq!(peers.visit(&peer.id, visit(1)).await, Ok(Visited::Gone));
    }
}
