//! Questions to the app about subscriptions of a connection's further sockets.

use std::sync::Arc;

use axum::http::HeaderValue;
use proto::authorization::Header;
use proto::{ChannelName, Refusal, SocketId};

use super::unanswered::Unanswered;
use crate::apps::AppEntry;
use crate::authorization::Denied;

/// What is asked.
pub(super) struct About {
    /// Who asks.
    pub(super) socket: SocketId,
    pub(super) channel: ChannelName,
    /// Which of its questions it is.
    pub(super) number: u64,
}

/// Questions without an answer.
pub(super) type Questions = Unanswered<About, Result<Vec<u8>, Refusal>>;

impl Questions {
    /// Asks whether a socket may subscribe to a channel.
    pub(super) fn ask(&mut self, entry: Arc<AppEntry>, about: About, headers: Vec<Header>) {
        let (socket, channel) = (about.socket, about.channel.clone());
        let answering = async move {
            check(&headers)?;
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
        self.forget(|about| about.socket == socket);
    }
}

/// Checks the headers that a client has given in a message. Values that no request can carry are its own
/// fault, not that of the application.
fn check(headers: &[Header]) -> Result<(), Refusal> {
    let cannot_be_sent = |(_, value): &&Header| HeaderValue::from_str(value.expose()).is_err();
    match headers.iter().find(cannot_be_sent) {
        Some((name, _)) => Err(Refusal::Malformed(format!(
            "the value of the header `{name}` has control characters"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proto::app::Secret;

    use super::*;

    #[test]
    fn a_header_that_no_request_can_carry_is_the_fault_of_its_client() {
        let checked = |value| check(&[("authorization".into(), Secret::new(value))]);
        assert_eq!(checked("Bearer \u{fc}"), Ok(()));
        for value in ["Bearer a\nb: c", "\u{0}"] {
            assert!(matches!(checked(value), Err(Refusal::Malformed(_))), "{value}");
        }
    }
}
