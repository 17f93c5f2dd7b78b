//! What a connection, or a further socket of it, asks of channels: one request at a time for each
//! channel, so that they keep their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use proto::channel::{Command, Joined, Reply, Role};
use proto::door::{Request, SessionAsk};
use proto::event::Draft;
use proto::{ChannelKey, ChannelName, Refusal, SocketId};

use super::unanswered::{Answering, Unanswered};
use crate::apps::AppEntry;
use crate::publish;
use crate::relay::NotJoined;
use crate::server::Server;

/// What came of a request. A connection that was not let in may be in by an earlier one.
pub(super) type Outcome = Result<Reply, NotJoined>;

/// A request, and who makes it.
#[derive(Clone, Debug)]
pub(super) struct ChannelRequest {
    /// The further socket, if it is not the connection itself.
    pub(super) by: Option<SocketId>,
    /// The connection that this one goes on from.
    pub(super) was: Option<SocketId>,
    pub(super) channel: ChannelName,
    pub(super) request: Request,
}

impl ChannelRequest {
    fn is_of_same(&self, other: &Self) -> bool {
        self.by == other.by && self.channel == other.channel
    }
}

/// Requests without an answer. A connection that has none keeps no buffer for them.
#[derive(Default)]
pub(super) struct Requests {
    running: Unanswered<ChannelRequest, Outcome>,
    /// Those that wait for an earlier one to the same channel, in their order: a request that is
    /// repeated while a channel restarts must not be overtaken.
    waiting: VecDeque<ChannelRequest>,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Makes a request now or, after an earlier one, later. `socket` is the connection's.
    pub(super) fn ask(
        &mut self,
        (server, entry): (&Arc<Server>, &Arc<AppEntry>),
        socket: SocketId,
        asked: ChannelRequest,
    ) {
        if self.running.any(|running| running.is_of_same(&asked)) {
            self.waiting.push_back(asked);
        } else {
            let outcome = ask(server, entry, asked.by.unwrap_or(socket), &asked);
            self.running.push(asked, outcome);
        }
    }

    /// Ready when any has its answer; it is taken out.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<(ChannelRequest, Outcome)> {
        self.running.poll(context)
    }

    /// Whether the client has asked again to be in the same channel, or to leave it.
    pub(super) fn is_superseded(&self, asked: &ChannelRequest) -> bool {
        let later = self.waiting.iter().filter(|waiting| waiting.is_of_same(asked));
        later.map(|waiting| &waiting.request).any(is_about_being_in)
    }

    /// The request that waited for this one, which has its answer.
    pub(super) fn after(&mut self, asked: &ChannelRequest) -> Option<ChannelRequest> {
        let index = self.waiting.iter().position(|waiting| waiting.is_of_same(asked))?;
        let next = self.waiting.remove(index);
        self.free_if_none_wait();
        next
    }

    /// A further socket is gone: what it waits for is of no interest.
    pub(super) fn forget(&mut self, socket: SocketId) {
        self.waiting.retain(|waiting| waiting.by != Some(socket));
        self.free_if_none_wait();
    }

    fn free_if_none_wait(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

const fn is_about_being_in(request: &Request) -> bool {
    matches!(request, Request::Join { role: Role::Subscriber(_), .. } | Request::Unsubscribe)
}

/// Gives a request to its channel.
fn ask(
    server: &Arc<Server>,
    entry: &Arc<AppEntry>,
    socket: SocketId,
    asked: &ChannelRequest,
) -> Answering<Outcome> {
    let key = ChannelKey { app: entry.app.id.clone(), channel: asked.channel.clone() };
    let (server, entry) = (Arc::clone(server), Arc::clone(entry));
    match asked.request.clone() {
        Request::Join { role, since } => {
            let was = asked.was.filter(|_| since.is_some());
            let joined = Joined { socket, role, since, was };
            Box::pin(async move { server.relay.join(key, joined).await.map(|()| Reply::Done) })
        }
        Request::Members => Box::pin(async move {
            let asked = server.router.ask(key, Command::Members);
            asked.answer().await.map_err(|error| Refusal::from(error).into())
        }),
        Request::Unsubscribe => Box::pin(async move {
            server.relay.unsubscribe(key, socket).await;
            Ok(Reply::Done)
        }),
        Request::Publish(event) => Box::pin(async move {
            let published = publish::client_event(&server, &entry, key, (event, socket));
            published.await.map_err(NotJoined::from)
        }),
        Request::Post(post) => Box::pin(async move {
            publish::post(&server, &entry, key, post).await.map_err(NotJoined::from)
        }),
        Request::Session(ask) => Box::pin(async move {
            let asked = server.router.ask(key, of_session(ask, &server));
            asked.answer().await.map_err(|error| Refusal::from(error).into())
        }),
    }
}

/// What a session asks of the channel that stands for it, as channels are asked.
pub(super) fn of_session(ask: SessionAsk, server: &Server) -> Command {
    match ask {
        SessionAsk::Inspect => Command::Inspect,
        SessionAsk::Challenge => Command::Terminate,
        SessionAsk::Keep(record) => Command::Publish(Draft::record(server.event_id(), &record)),
    }
}
