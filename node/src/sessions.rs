//! The sessions of this node that outlive their requests, and what other nodes bring to them.

use proto::cluster::visit::{Errand, Visit, Visited};

use crate::engineio;
use crate::exchange::{self, Exchanges, Listener};
use crate::router::Router;

/// All of them; a clone has the same ones.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Engine.IO.
    pub engineio: engineio::Sessions,
    /// Pusher over HTTP.
    pub fallback: Exchanges,
}

impl Sessions {
    /// Those of a node that can be one of several.
    #[must_use]
    pub fn new(router: &Router) -> Self {
        let engineio = engineio::Sessions::new(router.me().clone(), router.peers().clone());
        Self { engineio, fallback: Exchanges::default() }
    }

    /// Gives a session what a client's request at another node says to it, and waits for its answer. If
    /// this is dropped meanwhile, the session finds that its client has gone.
    pub async fn receive(self, visit: Visit) -> Visited {
        let Visit { id, errand } = visit;
        let answer = match errand {
            Errand::Poll => self.engineio.poll(&id).await,
            Errand::Release => self.engineio.release(&id).await,
            Errand::Post(body) => self.engineio.post(&id, body.into()).await,
            Errand::Listen { is_asked } => self.listen(&id, is_asked).await,
            Errand::Say(messages) => self.say(&id, messages).await,
        };
        answer.unwrap_or(Visited::Gone)
    }

    async fn listen(&self, id: &str, is_asked: bool) -> Option<Visited> {
        let session = self.fallback.find(id)?;
        let (listener, mut said) = Listener::once();
        session.send(exchange::Knock::Listen { listener, is_asked }).await.ok()?;
        let lines = said.recv().await?;
        Some(Visited::Payload(String::from_utf8_lossy(&lines).into_owned()))
    }

    async fn say(&self, id: &str, messages: Vec<String>) -> Option<Visited> {
        let session = self.fallback.find(id)?;
        session.send(exchange::Knock::Say(messages)).await.ok()?;
        Some(Visited::Taken)
    }
}
