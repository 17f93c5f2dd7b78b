//! Questions to the app about subscriptions of a connection's further sockets.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use proto::authorization::Header;
use proto::{ChannelName, Refusal, SocketId};

use crate::apps::AppEntry;
use crate::authorization::Denied;

type Answering = Pin<Box<dyn Future<Output = Result<Vec<u8>, Refusal>> + Send>>;

/// What is asked.
pub(super) struct About {
    /// Who asks.
    pub(super) socket: SocketId,
    pub(super) channel: ChannelName,
    /// Which of its questions it is.
    pub(super) number: u64,
}

/// Questions without an answer: none on most connections.
#[derive(Default)]
pub(super) struct Questions(Vec<(About, Answering)>);

impl Questions {
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Asks whether a socket may subscribe to a channel.
    pub(super) fn ask(&mut self, entry: Arc<AppEntry>, about: About, headers: Vec<Header>) {
        let (socket, channel) = (about.socket, about.channel.clone());
        let answering = async move {
            let answer = entry.authorize_echo(socket, &channel, &headers).await;
            answer.map_err(|denied| match denied {
                Denied::Forbidden(_) => Refusal::Unauthorized("the application said no"),
                Denied::Unavailable => Refusal::Unavailable,
            })
        };
        self.0.push((about, Box::pin(answering)));
    }

    /// A further socket is gone: what it asked is of no interest.
    pub(super) fn forget(&mut self, socket: SocketId) {
        self.0.retain(|(about, _)| about.socket != socket);
    }

    /// Ready when any has its answer; it is taken out.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(About, Result<Vec<u8>, Refusal>)> {
        for index in 0..self.0.len() {
            if let Poll::Ready(answer) = self.0[index].1.as_mut().poll(context) {
                let (about, _) = self.0.swap_remove(index);
                return Poll::Ready((about, answer));
            }
        }
        Poll::Pending
    }
}
