//! Questions that are about no slot: each node answers them for itself, also about slots of others.

use proto::cluster::message::{Answer, Ask};

use super::{Channels, Request};

impl Channels {
    /// Answers a question that is about no slot; gives others back.
    pub(super) fn answer_of_node(&self, request: Request) -> Option<Request> {
        let answer = match &request.ask {
            Ask::List(query) => self.list(query),
            Ask::Spend(doer, per_second) => {
                let now = self.clock().moment();
                self.0.parts.quotas.spend(doer.clone(), *per_second, now)
            }
            Ask::Notify(..) | Ask::Terminate(..) | Ask::Transports(_) => {
                let channels = self.clone();
                tokio::spawn(async move { channels.ask_relay(request).await });
                return None;
            }
            Ask::Channel { .. } | Ask::Claim { .. } | Ask::Lease(..) => return Some(request),
        };
        request.replier.answer(answer);
        None
    }

    /// The relay answers when its shards have.
    async fn ask_relay(&self, request: Request) {
        let answer = match &request.ask {
            Ask::Notify(app, text) => Answer::Notified(self.relay().notify(app, text).await),
            Ask::Transports(key) => Answer::Transports(self.relay().transports(key).await.into()),
            Ask::Terminate(app, connection) => {
                Answer::Terminated(self.relay().terminate(app, connection).await)
            }
            _ => Answer::Unavailable,
        };
        request.replier.answer(answer);
    }
}
