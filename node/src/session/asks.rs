//! What a connection asks of channels, and what it leaves to whoever goes on with its session.

use std::sync::Arc;

use proto::channel::{Command, Joined, Reply};
use proto::door::{Input, Request, SessionAsk};
use proto::event::Draft;
use proto::pusher::Resumption;
use proto::{ChannelKey, ChannelName, Refusal, SocketId};

use crate::apps::AppEntry;
use crate::publish;
use crate::server::Server;

use super::{Ask, Connection, Task};

impl Task {
    /// Gives a request to its channel. There is one at a time for a channel, so they keep their
    /// order.
    pub(super) fn ask(&self, channel: ChannelName, request: Request, entry: &Arc<AppEntry>) -> Ask {
        let socket = self.connection.socket;
        let key = ChannelKey { app: entry.app.id.clone(), channel: channel.clone() };
        let (server, entry) = (Arc::clone(&self.server), Arc::clone(entry));
        match request.clone() {
            Request::Join { role, since } => {
                let was = self.earlier_socket().filter(|_| since.is_some());
                Box::pin(async move {
                    let joined = Joined { socket, role, since, was };
                    let answer = server.relay.join(key, joined).await;
                    (channel, request, answer.map_err(Refusal::from))
                })
            }
            Request::Members => Box::pin(async move {
                let asked = server.router.ask(key, Command::Members);
                (channel, request, asked.answer().await.map_err(Refusal::from))
            }),
            Request::Unsubscribe => Box::pin(async move {
                server.relay.unsubscribe(key, socket).await;
                (channel, request, Ok(Reply::Done))
            }),
            Request::Publish(event) => Box::pin(async move {
                let event = (event, socket);
                let answer = publish::client_event(&server, &entry, key, event).await;
                (channel, request, answer)
            }),
            Request::Post(post) => Box::pin(async move {
                (channel, request, publish::post(&server, &entry, key, post).await)
            }),
            Request::Session(ask) => Box::pin(async move {
                let asked = server.router.ask(key, of_session(ask, &server));
                (channel, request, asked.answer().await.map_err(Refusal::from))
            }),
        }
    }

    fn earlier_socket(&self) -> Option<SocketId> {
        self.connection.door.resumption().and_then(Resumption::earlier_socket)
    }

    /// Leaves the session, and how far its client has come, to whoever goes on with it. Saying goodbye
    /// to the client may take longer.
    pub(super) fn hand_on(&mut self) {
        if self.connection.door.resumption().is_none() {
            return;
        }
        for signal in self.connection.outbox.take_signals() {
            // It is at its end already.
            let _ = self.apply(Input::Signal(signal));
        }
        let Connection { socket, entry, door, .. } = &self.connection;
        let Some(resumption) = door.resumption() else { return };
        let (app, channel) = (entry.app.id.clone(), resumption.channel().clone());
        let key = ChannelKey { app, channel };
        if let Some(record) = resumption.record(*socket) {
            let command = of_session(SessionAsk::Keep(record), &self.server);
            self.server.router.tell(key.clone(), command);
        }
        self.server.router.leave(key, *socket);
    }
}

fn of_session(ask: SessionAsk, server: &Server) -> Command {
    match ask {
        SessionAsk::Inspect => Command::Inspect,
        SessionAsk::Challenge => Command::Terminate,
        SessionAsk::Keep(record) => Command::Publish(Draft::record(server.event_id(), &record)),
    }
}
