//! Questions to the app about subscriptions of a connection's further sockets.

use std::sync::Arc;

use proto::authorization::Header;
use proto::{ChannelName, Refusal, SocketId};

use super::unanswered::Unanswered;
use crate::apps::AppEntry;
use crate::authorization::Denied;

/// Who asks, and about which channel.
type About = (SocketId, ChannelName);

/// Questions without an answer.
pub(super) type Questions = Unanswered<About, Result<Vec<u8>, Refusal>>;

impl Questions {
    /// Asks whether a socket may subscribe to a channel.
    pub(super) fn ask(&mut self, entry: Arc<AppEntry>, about: About, headers: Vec<Header>) {
        let (socket, channel) = about.clone();
        let answering = async move {
            let answer = entry.authorize_echo(socket, &channel, &headers).await;
            answer.map_err(|denied| match denied {
                Denied::Forbidden(_) => Refusal::Unauthorized("the application said no"),
                Denied::Unavailable => Refusal::Unavailable,
            })
        };
        self.push(about, Box::pin(answering));
    }

    /// A further socket is gone: what it asked is of no interest.
    pub(super) fn leave(&mut self, socket: SocketId) {
        self.forget(|(asking, _)| *asking == socket);
    }
}
