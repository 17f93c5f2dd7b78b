//! One client's connection: a task that reads the socket, runs the door's session machine, and
//! carries its actions out. It ends alone: a panic here ends one connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use proto::channel::{Command, Joined, Reply, Role};
use proto::door::{Action, Close, Counted, Door, Input, Request};
use proto::pusher::code::CloseCode;
use proto::quota::Demand;
use proto::token::strip_bearer;
use proto::visitor::Visitor;
use proto::{ChannelKey, ChannelName, Refusal, SocketId};
use tokio::time::{Sleep, sleep_until};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::apps::AppEntry;
use crate::outbox::Outbox;
use crate::publish;
use crate::reader::Reader;
use crate::server::Server;

mod log;

pub use log::CLIENTS;

/// Requests to channels that one connection may have unanswered; then its socket is not read.
const WINDOW: usize = 32;

/// What came of a request to a channel.
struct Answer {
    channel: ChannelName,
    request: Request,
    outcome: Result<Reply, Refusal>,
    /// A connection that was not let in by this request is in by an earlier one.
    is_in: bool,
}

type Ask = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Verifying = Pin<Box<dyn Future<Output = Result<Visitor, String>> + Send>>;

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
    /// The client closed it.
    Client,
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
    /// Requests on their way, one for each channel: few and short-lived, and none on most
    /// connections, which a list costs nothing.
    asks: Vec<(ChannelName, Ask)>,
    /// A token that is being checked.
    verifying: Option<Verifying>,
    /// Requests that wait for an earlier one to the same channel, in their order: a request that is
    /// repeated while a channel restarts must not be overtaken.
    waiting: VecDeque<(ChannelName, Request)>,
    timer: Pin<Box<Sleep>>,
    began: Instant,
    /// Why it ended, as a word for metrics.
    ended: &'static str,
}

/// What is left to do when a connection has ended, after a panic too.
impl Drop for Task {
    fn drop(&mut self) {
        let Connection { socket, entry, door, .. } = &self.connection;
        let (socket, reason, after) = (*socket, self.ended, self.began.elapsed());
        self.server.quotas.release(&entry.app.id, Demand::Connection);
        entry.metrics.door(door.wire()).end(reason, after);
        log::disconnected(&self.connection, reason, after);
        let relay = Arc::clone(&self.server.relay);
        tokio::spawn(async move { relay.detach(socket).await });
    }
}

impl Task {
    fn new(server: Arc<Server>, connection: Connection) -> Self {
        let deadline = server.clock.instant(connection.door.deadline());
        let timer = Box::pin(sleep_until(deadline));
        let (asks, waiting, began) = (Vec::new(), VecDeque::new(), Instant::now());
        let verifying = None;
        Self { server, connection, asks, verifying, waiting, timer, began, ended: "panic" }
    }

    async fn run(&mut self) -> &'static str {
        let Connection { socket, entry, door, outbox, .. } = &self.connection;
        let app = entry.app.id.clone();
        self.server.relay.attach(app, *socket, Arc::clone(outbox), door.wire()).await;
        entry.metrics.door(door.wire()).begin();
        log::connected(&self.connection);
        let end = match self.apply(Input::Opened) {
            Ok(()) => loop {
                if let Err(end) = self.step().await {
                    break end;
                }
            },
            Err(end) => end,
        };
        let Connection { reader, outbox, .. } = &mut self.connection;
        match end {
            End::Closed(close) => {
                let reason = word(&close);
                outbox.close(&close);
                reader.part(outbox).await;
                reason
            }
            End::Client => {
                reader.part(outbox).await;
                "client"
            }
            End::Lost => "lost",
        }
    }

    /// Waits for one thing to happen and deals with it.
    async fn step(&mut self) -> Result<(), End> {
        let Self { connection, asks, verifying, waiting, timer, .. } = self;
        let may_read = asks.len() + waiting.len() < WINDOW;
        let outbox = &connection.outbox;
        tokio::select! {
            message = connection.reader.next(), if may_read => self.receive(message),
            signal = poll_fn(|context| outbox.poll_signal(context)) => match signal {
                Ok(signal) => self.apply(Input::Signal(signal)),
                Err(_) => Err(End::Lost),
            },
            answer = poll_fn(|context| poll_any(asks, context)) => self.answered(answer),
            verdict = poll_fn(|context| poll_optional(verifying, context)) => {
                self.verified(verdict)
            }
            () = timer.as_mut() => {
                let outcome = self.apply(Input::Timer);
                self.arm();
                outcome
            }
        }
    }

    fn verified(&mut self, verdict: Result<Visitor, String>) -> Result<(), End> {
        match &verdict {
            Ok(_) => self.connection.reader.trust(),
            Err(_) => self.connection.entry.metrics.auth_failed("token"),
        }
        let is_let_in = verdict.is_ok();
        self.apply(Input::Verified(verdict))?;
        if is_let_in {
            log::let_in(&self.connection);
        }
        self.arm();
        Ok(())
    }

    fn arm(&mut self) {
        let deadline = self.server.clock.instant(self.connection.door.deadline());
        self.timer.as_mut().reset(deadline);
    }

    fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) => {
                let door = self.connection.entry.metrics.door(self.connection.door.wire());
                door.received_bytes.increment(text.len() as u64);
                self.apply(Input::Text(text.as_str()))
            }
            Some(Ok(Message::Binary(bytes))) => self.apply(Input::Binary(&bytes)),
            Some(Ok(Message::Ping(_))) => self.apply(Input::Alive { is_pong: false }),
            Some(Ok(Message::Pong(_))) => self.apply(Input::Alive { is_pong: true }),
            Some(Ok(Message::Close(_) | Message::Frame(_))) => Err(End::Client),
            Some(Err(error)) => Err(end_of(&error)),
            None => Err(End::Lost),
        }
    }

    fn apply(&mut self, input: Input<'_>) -> Result<(), End> {
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
        self.connection.door.apply(input, &entry.app, now, &mut actions);
        actions.into_iter().try_for_each(|action| self.act(action, &entry))
    }

    fn act(&mut self, action: Action, entry: &Arc<AppEntry>) -> Result<(), End> {
        let Connection { outbox, door, .. } = &self.connection;
        let wire = door.wire();
        match action {
            // An outbox that is full closes the connection by itself.
            Action::Send(text) => drop(outbox.send(wire.message(text))),
            Action::Ping => drop(outbox.send(wire.ping())),
            Action::Ask { channel, request } => {
                if self.asks.iter().any(|(asked, _)| *asked == channel) {
                    self.waiting.push_back((channel, request));
                } else {
                    self.start(channel, request, entry);
                }
            }
            Action::Verify(token) => {
                let entry = Arc::clone(&self.connection.entry);
                self.verifying = Some(Box::pin(async move {
                    let verified = entry.verify_token(strip_bearer(&token)).await;
                    verified.map(Visitor::with).map_err(|error| error.to_string())
                }));
            }
            Action::Name(name) => outbox.set_name(name),
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

    fn start(&mut self, channel: ChannelName, request: Request, entry: &Arc<AppEntry>) {
        let ask = self.ask(channel.clone(), request, entry);
        self.asks.push((channel, ask));
    }

    /// Gives a request to its channel. There is one at a time for a channel, so they keep their
    /// order.
    fn ask(&self, channel: ChannelName, request: Request, entry: &Arc<AppEntry>) -> Ask {
        let socket = self.connection.socket;
        let key = ChannelKey { app: entry.app.id.clone(), channel: channel.clone() };
        let (server, entry) = (Arc::clone(&self.server), Arc::clone(entry));
        match request.clone() {
            Request::Join { role, since } => Box::pin(async move {
                let joined = server.relay.join(key, Joined { socket, role, since }).await;
                let is_in = joined.as_ref().is_err_and(|not_joined| not_joined.is_in);
                let outcome = joined.map(|()| Reply::Done).map_err(|error| error.refusal);
                Answer { channel, request, outcome, is_in }
            }),
            Request::Members => Box::pin(async move {
                let asked = server.router.ask(key, Command::Members);
                let outcome = asked.answer().await.map_err(Refusal::from);
                Answer { channel, request, outcome, is_in: false }
            }),
            Request::Unsubscribe => Box::pin(async move {
                server.relay.unsubscribe(key, socket).await;
                Answer { channel, request, outcome: Ok(Reply::Done), is_in: false }
            }),
            Request::Publish(event) => Box::pin(async move {
                let event = (event, socket);
                let outcome = publish::client_event(&server, &entry, key, event).await;
                Answer { channel, request, outcome, is_in: false }
            }),
            Request::Post(post) => Box::pin(async move {
                let outcome = publish::post(&server, &entry, key, post).await;
                Answer { channel, request, outcome, is_in: false }
            }),
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<(), End> {
        let Answer { channel, request, outcome, is_in } = answer;
        let is_superseded = self
            .waiting
            .iter()
            .any(|(waiting, later)| *waiting == channel && is_about_being_in(later));
        if let Some(index) = self.waiting.iter().position(|(waiting, _)| *waiting == channel)
            && let Some((channel, next)) = self.waiting.remove(index)
        {
            let entry = Arc::clone(&self.connection.entry);
            self.start(channel, next, &entry);
        }
        let (reply, refusal) = match outcome {
            Ok(Reply::Refused(refusal)) | Err(refusal) => (None, Some(refusal)),
            Ok(reply) => (Some(reply), None),
        };
        if let Request::Join { role: Role::Subscriber(_), .. } = &request {
            let result = if refusal.is_some() { "refused" } else { "succeeded" };
            self.connection.entry.metrics.subscribed(channel.kind().label(), result);
        }
        match refusal {
            Some(refusal) if is_subscription(&request) && (is_in || is_superseded) => {
                self.apply(Input::Moot { channel, request, refusal })
            }
            Some(refusal) => self.apply(Input::Refused { channel, request, refusal }),
            None => match reply {
                Some(reply) => self.apply(Input::Answered { channel, request, reply }),
                None => Ok(()),
            },
        }
    }
}

/// Whether a request decides whether its connection is in the channel.
const fn is_about_being_in(request: &Request) -> bool {
    is_subscription(request) || matches!(request, Request::Unsubscribe)
}

const fn is_subscription(request: &Request) -> bool {
    matches!(request, Request::Join { role: Role::Subscriber(_), .. })
}

/// Ready when any of them is; it is taken out.
fn poll_any(asks: &mut Vec<(ChannelName, Ask)>, context: &mut Context<'_>) -> Poll<Answer> {
    for index in 0..asks.len() {
        if let Poll::Ready(answer) = asks[index].1.as_mut().poll(context) {
            drop(asks.swap_remove(index));
            return Poll::Ready(answer);
        }
    }
    Poll::Pending
}

/// Ready when it is there and done; it is taken out.
fn poll_optional<T>(
    future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    context: &mut Context<'_>,
) -> Poll<T> {
    let Some(pending) = future else { return Poll::Pending };
    let outcome = pending.as_mut().poll(context);
    if outcome.is_ready() {
        *future = None;
    }
    outcome
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

/// A word for metrics: one of a closed set.
const fn word(close: &Close) -> &'static str {
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
