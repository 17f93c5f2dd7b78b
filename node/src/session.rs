//! One client's connection: a task that reads the socket, runs the door's session machine, and
//! carries its actions out. It ends alone: a panic here ends one connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use proto::channel::{Reply, Role};
use proto::door::{Action, Close, Counted, Door, Input, Request, SessionAsk};
use proto::pusher::Resumption;
use proto::pusher::code::CloseCode;
use proto::quota::Demand;
use proto::visitor::Visitor;
use proto::websocket::number_of_pong;
use proto::{ChannelKey, SocketId};
use tokio::time::{Sleep, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as CloseFrameCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::apps::AppEntry;
use crate::outbox::Outbox;
use crate::reader::Reader;
use crate::relay::{Attached, NotJoined};
use crate::server::Server;

mod log;
mod questions;
mod requests;
mod seats;
mod unanswered;

pub use log::CLIENTS;

use questions::{About, Questions};
use requests::{ChannelRequest, Outcome, Requests};
use seats::Seats;

/// Requests to channels that one connection may have unanswered; then its socket is not read.
const WINDOW: usize = 32;

/// A connection that was let in.
#[derive(Debug)]
pub struct Connection {
    /// Its id.
    pub socket: SocketId,
    /// Its app as it was let in.
    pub entry: Arc<AppEntry>,
    /// The machine that decides for it.
    pub door: Door,
    /// What it is read from.
    pub reader: Reader,
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
}

/// A connection that runs.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The ways in which a connection ends.
enum End {
    /// We close it, with a code.
    Closed(Close),
    /// The client closed it: for good, unless it is a page that may be loaded again.
    Client { is_for_good: bool },
    /// The socket failed.
    Lost,
}

/// Runs a connection from its greeting to its end. Its state is boxed before the first await: a
/// future keeps every value that is moved into it twice, and there is one for each connection.
pub fn run(server: Arc<Server>, connection: Connection) -> Running {
    let mut task = Box::new(Task::new(server, connection));
    Box::pin(async move { task.ended = task.run().await })
}

struct Task {
    server: Arc<Server>,
    connection: Connection,
    requests: Requests,
    seats: Seats,
    questions: Questions,
    timer: Pin<Box<Sleep>>,
    began: Instant,
    /// Why it ended, as a word for metrics.
    ended: &'static str,
    is_for_good: bool,
}

/// What is left to do when a connection has ended, after a panic too.
impl Drop for Task {
    fn drop(&mut self) {
        let Connection { socket, entry, door, .. } = &self.connection;
        let (socket, reason, after) = (*socket, self.ended, self.began.elapsed());
        self.server.quotas.release(&entry.app.id, Demand::Connection);
        entry.metrics.door(door.wire()).end(reason, after);
        log::disconnected(&self.connection, reason, after);
        seats::detach(&self.server.relay, socket, self.is_for_good);
        self.seats.leave_all(&self.server.relay);
    }
}

impl Task {
    fn new(server: Arc<Server>, connection: Connection) -> Self {
        let deadline = server.clock.instant(connection.door.deadline());
        let timer = Box::pin(sleep_until(deadline));
        let (requests, seats, questions) = Default::default();
        let (began, ended, is_for_good) = (Instant::now(), "panic", false);
        Self { server, connection, requests, seats, questions, timer, began, ended, is_for_good }
    }

    async fn run(&mut self) -> &'static str {
        let Connection { socket, entry, door, outbox, .. } = &self.connection;
        let is_resumable = door.resumption().is_some_and(Resumption::is_resumable);
        let attached = Attached::new(entry.app.id.clone(), *socket, door.wire());
        let attached = Attached { is_resumable, ..attached };
        self.server.relay.attach(attached, Arc::clone(outbox)).await;
        entry.metrics.door(door.wire()).begin();
        log::connected(&self.connection);
        let end = match self.apply(None, Input::Opened) {
            Ok(()) => loop {
                if let Err(end) = self.step().await {
                    break end;
                }
            },
            Err(end) => end,
        };
        self.hand_on();
        let Connection { reader, outbox, .. } = &mut self.connection;
        match end {
            End::Closed(close) => {
                let reason = word(&close);
                outbox.close(&close);
                reader.part(outbox).await;
                reason
            }
            End::Client { is_for_good } => {
                self.is_for_good = is_for_good;
                reader.part(outbox).await;
                "client"
            }
            End::Lost => "lost",
        }
    }

    /// Waits for one thing to happen and deals with it.
    async fn step(&mut self) -> Result<(), End> {
        let Self { connection, requests, seats, questions, timer, .. } = self;
        let may_read = requests.len() + questions.len() < WINDOW;
        let outbox = &connection.outbox;
        tokio::select! {
            message = connection.reader.next(), if may_read => self.receive(message),
            signal = poll_fn(|context| outbox.poll_signal(context)) => match signal {
                Ok((socket, signal)) => self.apply(socket, Input::Signal(signal)),
                Err(_) => Err(End::Lost),
            },
            answer = poll_fn(|context| requests.poll(context)) => self.answered(answer),
            verdict = poll_fn(|context| seats.poll(context)) => self.verified(verdict),
            (about, answer) = poll_fn(|context| questions.poll(context)) => {
                let About { socket, channel, number } = about;
                self.apply(Some(socket), Input::Authorized { channel, number, answer })
            }
            () = timer.as_mut() => self.apply(None, Input::Timer),
        }
    }

    fn verified(
        &mut self,
        (socket, verdict): (Option<SocketId>, Result<Visitor, String>),
    ) -> Result<(), End> {
        match &verdict {
            Ok(_) => self.connection.reader.trust(),
            Err(_) => self.connection.entry.metrics.auth_failed("token"),
        }
        let is_let_in = verdict.is_ok();
        self.apply(socket, Input::Verified(verdict))?;
        if is_let_in {
            log::let_in(&self.connection);
        }
        Ok(())
    }

    /// Wakes when the machine wants to. If that is later than before, waking too early costs less than
    /// moving the timer with every message.
    fn arm(&mut self) {
        let deadline = self.server.clock.instant(self.connection.door.deadline());
        if deadline < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
    }

    fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) => {
                let door = self.connection.entry.metrics.door(self.connection.door.wire());
                door.received_bytes.increment(text.len() as u64);
                self.apply(None, Input::Text(text.as_str()))
            }
            Some(Ok(Message::Binary(bytes))) => self.apply(None, Input::Binary(&bytes)),
            Some(Ok(Message::Ping(_))) => self.apply(None, Input::Alive { is_pong: false }),
            Some(Ok(Message::Pong(payload))) => match number_of_pong(&payload) {
                Some(number) => self.apply(None, Input::Proven(number)),
                None => self.apply(None, Input::Alive { is_pong: true }),
            },
            Some(Ok(Message::Close(frame))) => {
                let is_for_good = frame.is_none_or(|frame| frame.code != CloseFrameCode::Away);
                Err(End::Client { is_for_good })
            }
            Some(Ok(Message::Frame(_))) => Err(End::Client { is_for_good: true }),
            Some(Err(error)) => Err(end_of(&error)),
            None => Err(End::Lost),
        }
    }

    /// Tells the session what happened to it or, if there is one, to a further socket of it.
    fn apply(&mut self, socket: Option<SocketId>, input: Input<'_>) -> Result<(), End> {
        // Secrets and limits may have changed since the connection was let in.
        let Some(entry) = self.server.apps.by_id(self.connection.entry.app.id.as_str()) else {
            let close = CloseCode::UnknownApp.because("the app was removed");
            return Err(End::Closed(close));
        };
        if !entry.app.enabled {
            return Err(End::Closed(CloseCode::AppDisabled.because("this app is disabled")));
        }
        let mut actions = Vec::new();
        let now = self.server.clock.now();
        let door = &mut self.connection.door;
        match socket {
            None => door.apply(input, &entry.app, now, &mut actions),
            Some(socket) => door.apply_for((socket, input), &entry.app, now, &mut actions),
        }
        self.arm();
        actions.into_iter().try_for_each(|action| self.act(None, action, &entry))
    }

    fn act(
        &mut self,
        by: Option<SocketId>,
        action: Action,
        entry: &Arc<AppEntry>,
    ) -> Result<(), End> {
        let Connection { outbox, door, socket, .. } = &self.connection;
        let wire = door.wire();
        match action {
            // An outbox that is full closes the connection by itself.
            Action::Send(text) => drop(outbox.send(wire.message(text))),
            Action::Ping => drop(outbox.send(wire.ping())),
            Action::Mark => self.server.relay.mark(*socket),
            Action::Ask { channel, request } => {
                let was = door.resumption().and_then(Resumption::earlier_socket);
                let asked = ChannelRequest { by, was, channel, request };
                self.requests.ask((&self.server, entry), *socket, asked);
            }
            Action::Verify(proof) => self.seats.verify(Arc::clone(entry), wire, proof),
            Action::Open { seat, proof } => {
                let way = (Arc::clone(&self.server.relay), Arc::clone(outbox));
                self.seats.open(Arc::clone(entry), way, (seat, proof));
            }
            Action::For { socket, action } => return self.act(Some(socket), *action, entry),
            Action::Authorize { channel, number, headers } => {
                let about = About { socket: by.unwrap_or(*socket), channel, number };
                self.questions.ask(Arc::clone(entry), about, headers);
            }
            Action::Leave(socket) => {
                self.requests.forget(socket);
                self.questions.leave(socket);
                outbox.set_name(Some(socket), None);
                self.seats.leave(&self.server.relay, socket);
            }
            Action::Name(name) => outbox.set_name(by, name),
            Action::Close(close) => return Err(End::Closed(close)),
            Action::Count(Counted::Subscription { kind, is_unauthorized }) => {
                entry.metrics.subscribed(kind, "refused");
                if is_unauthorized {
                    entry.metrics.auth_failed("subscription");
                }
            }
            Action::Count(Counted::Heartbeat) => log::heartbeat(&self.connection),
            Action::Count(Counted::RateLimited(limit)) => entry.metrics.rate_limited(limit),
        }
        Ok(())
    }

    /// Leaves the session, and how far its client has come, to whoever goes on with it. Saying goodbye
    /// to the client may take longer.
    fn hand_on(&mut self) {
        if self.connection.door.resumption().is_none() {
            return;
        }
        for (socket, signal) in self.connection.outbox.take_signals() {
            // It is at its end already.
            let _ = self.apply(socket, Input::Signal(signal));
        }
        let Connection { socket, entry, door, .. } = &self.connection;
        let Some(resumption) = door.resumption() else { return };
        let (app, channel) = (entry.app.id.clone(), resumption.channel().clone());
        let key = ChannelKey { app, channel };
        if let Some(record) = resumption.record(*socket) {
            let command = requests::of_session(SessionAsk::Keep(record), &self.server);
            self.server.router.tell(key.clone(), command);
        }
        self.server.router.leave(key, *socket);
    }

    fn answered(&mut self, (asked, outcome): (ChannelRequest, Outcome)) -> Result<(), End> {
        let is_superseded = self.requests.is_superseded(&asked);
        if let Some(next) = self.requests.after(&asked) {
            let Connection { entry, socket, .. } = &self.connection;
            self.requests.ask((&self.server, entry), *socket, next);
        }
        let ChannelRequest { by, channel, request, .. } = asked;
        let outcome = match outcome {
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            outcome => outcome,
        };
        if let Request::Join { role: Role::Subscriber(_), .. } = &request {
            let result = if outcome.is_err() { "refused" } else { "succeeded" };
            self.connection.entry.metrics.subscribed(channel.kind().label(), result);
        }
        match outcome {
            Err(NotJoined { refusal, is_in })
                if is_subscription(&request) && (is_in || is_superseded) =>
            {
                self.apply(by, Input::Moot { channel, request, refusal })
            }
            Err(NotJoined { refusal, .. }) => {
                self.apply(by, Input::Refused { channel, request, refusal })
            }
            Ok(reply) => self.apply(by, Input::Answered { channel, request, reply }),
        }
    }
}

const fn is_subscription(request: &Request) -> bool {
    matches!(request, Request::Join { role: Role::Subscriber(_), .. })
}

fn end_of(error: &Error) -> End {
    let code = match error {
        Error::Capacity(_) => 1009,
        Error::Utf8(_) => 1007,
        Error::Protocol(protocol) if !is_lost(protocol) => 1002,
        _ => return End::Lost,
    };
    End::Closed(Close { code, reason: error.to_string().into() })
}

fn is_lost(error: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    matches!(error, ProtocolError::ResetWithoutClosingHandshake)
}

/// Why a connection was closed, as a word for metrics: one of a closed set.
#[must_use]
pub const fn word(close: &Close) -> &'static str {
    match close.code {
        1002 | 1007 => "protocol_error",
        1009 => "message_too_big",
        4009 => "terminated",
        4100 => "slow",
        4200 => "drain",
        4201 => "pong_missing",
        _ => "server",
    }
}

#[cfg(test)]
mod tests;
