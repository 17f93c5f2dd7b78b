//! What came of a client's requests, and what it is told of them.

use crate::channel::{Reply, Role};
use crate::door::{Action, Request};
use crate::name::ChannelName;
use crate::plain::code;
use crate::refusal::Refusal;
use crate::socketio::{Arguments, Input};
use crate::time::Now;

use super::asked::{self, Asked};
use super::session::{ROOT, Session, normal};

impl Session {
    pub(super) fn answered(
        &mut self,
        (channel, request): (&ChannelName, &Request),
        answer: Result<&Reply, &Refusal>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let is_join = matches!(request, Request::Join { role: Role::Subscriber(_), .. });
        match (request, answer) {
            // The relay says more of it, with the channel's word.
            (Request::Join { .. }, Ok(_)) => return,
            (Request::Join { .. }, Err(_)) if is_join => {
                self.channels.remove(channel);
                self.came_back(channel, false, now, actions);
            }
            // Without it the connection could not be ended, or would hear what it does not want.
            (Request::Join { .. } | Request::Unsubscribe, Err(_)) => {
                return actions.push(Action::Close(normal()));
            }
            _ => {}
        }
        self.settle((channel, request), answer, now, actions);
    }

    /// Answers the client that waits for this, if it does.
    pub(super) fn settle(
        &mut self,
        (channel, request): (&ChannelName, &Request),
        answer: Result<&Reply, &Refusal>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let name = match request {
            Request::Join { .. } => "subscribe",
            Request::Unsubscribe => "unsubscribe",
            _ => "publish",
        };
        if let Some(asked) = self.take_asked(channel, name) {
            let answer = answer.map(|reply| match reply {
                Reply::Published(published) => {
                    format!(r#","deliveredTo":{}"#, published.subscribers)
                }
                _ => String::new(),
            });
            self.answer(&asked, answer, now, actions);
        }
    }

    /// The first request of this kind to a channel: they are answered in their order.
    pub(super) fn take_asked(&mut self, channel: &ChannelName, name: &str) -> Option<Asked> {
        let is_it = |asked: &Asked| asked.channel.as_ref() == Some(channel) && asked.name == name;
        let index = self.asked.iter().position(is_it)?;
        self.asked.remove(index)
    }

    /// Answers a request, in the two ways in which clients wait: by its acknowledgement, and by the
    /// event `ack`.
    pub(super) fn answer(
        &mut self,
        asked: &Asked,
        answer: Result<String, &Refusal>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let refusal = answer.as_ref().err().copied();
        let (status, more) = asked::status(answer);
        if let Some(id) = asked.ack {
            let arguments = Arguments::of(format!("[{{{status}{more}}}]"));
            self.say(Input::Ack { namespace: ROOT, id, arguments }, now, actions);
        }
        if let Some(event) = asked.event(&status, &more) {
            self.emit("ack", &event, now, actions);
        }
        if let (None, None, Some(refusal)) = (asked.ack, &asked.id, refusal) {
            let data = format!(r#"{{"code":"{}"{more}}}"#, code::word(refusal));
            self.emit("error", &data, now, actions);
        }
    }
}
