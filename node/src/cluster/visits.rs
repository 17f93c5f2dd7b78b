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
use tokio::time::sleep;

use crate::channels::Replier;

use super::Peers;
use super::peers::Peer;

/// Bytes that may wait for a peer before sessions' answers to it have to: what channels say goes
/// first, and a backlog that overflows would reset the link.
const BACKLOG_MAX: usize = 4 << 20;
/// How often a peer with a backlog is looked at.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// A request on its way. If it is dropped before it is answered, the session hears that its client has
/// gone.
#[derive(Debug)]
pub struct Visiting {
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

    /// Takes a client's request to the node that has its session.
    #[must_use]
    pub fn visit(&self, to: &RelayId, visit: Visit) -> Visiting {
        let (replier, answer) = Replier::local();
        let number = self.question(to, replier, |number| Message::Visit(number, visit));
        Visiting { peers: self.clone(), to: to.clone(), number, answer }
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
