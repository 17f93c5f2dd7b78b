//! One client's connection: a task that reads the socket, runs the door's session machine, and
//! carries its actions out. It ends alone: a panic here ends one connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use proto::channel::{Command, Joined, Reply, Role};
use proto::door::{Action, Close, Door, Input, Request};
use proto::event::{Draft, Origin, Priority};
use proto::pusher::code::CloseCode;
use proto::quota::Demand;
use proto::websocket::{ping_frame, text_frame};
use proto::{ChannelKey, ChannelName, Refusal, SocketId};
use tokio::time::{Sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::apps::AppEntry;
use crate::outbox::Outbox;
use crate::server::Server;
use crate::socket::Socket;

/// Requests to channels that one connection may have unanswered; then its socket is not read.
const WINDOW: usize = 32;
/// How long a closing connection may take to read what is left for it and to answer the close.
const CLOSING: Duration = Duration::from_secs(3);

type Answer = (ChannelName, Request, Result<Reply, Refusal>);
type Ask = Pin<Box<dyn Future<Output = Answer> + Send>>;

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
    pub stream: WebSocketStream<Socket>,
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
}

/// The ways in which a connection ends.
enum End {
    /// We close it, with a code.
    Closed(Close),
    /// The client closed it.
    Client,
    /// The socket failed.
    Lost,
}

/// Runs a connection from its greeting to its end.
pub async fn run(server: Arc<Server>, connection: Connection) {
    let (socket, entry) = (connection.socket, Arc::clone(&connection.entry));
    let (outbox, wire) = (Arc::clone(&connection.outbox), connection.door.wire());
    server.relay.attach(socket, outbox, wire).await;
    entry.metrics.opened.increment(1);
    tracing::debug!(app = %entry.app.id, %socket, "connected");
    let began = Instant::now();
    let mut departure =
        Departure { server: Arc::clone(&server), socket, entry, began, reason: "panic" };
    departure.reason = Task::new(server, connection).run().await;
}

/// What is left to do when a connection has ended, after a panic too.
struct Departure {
    server: Arc<Server>,
    socket: SocketId,
    entry: Arc<AppEntry>,
    began: Instant,
    reason: &'static str,
}

impl Drop for Departure {
    fn drop(&mut self) {
        let Self { socket, reason, .. } = *self;
        self.server.router.release(&self.entry.app.id, Demand::Connection);
        self.entry.metrics.closed(reason);
        self.entry.metrics.lasted.record(self.began.elapsed().as_secs_f64());
        tracing::debug!(app = %self.entry.app.id, %socket, reason, "disconnected");
        let relay = Arc::clone(&self.server.relay);
        tokio::spawn(async move { relay.detach(socket).await });
    }
}

struct Task {
    server: Arc<Server>,
    connection: Connection,
    asks: FuturesUnordered<Ask>,
    timer: Pin<Box<Sleep>>,
}

impl Task {
    fn new(server: Arc<Server>, connection: Connection) -> Self {
        let deadline = server.clock.instant(connection.door.deadline());
        let timer = Box::pin(sleep_until(deadline));
        Self { server, connection, asks: FuturesUnordered::new(), timer }
    }

    async fn run(mut self) -> &'static str {
        let end = match self.apply(Input::Opened) {
            Ok(()) => loop {
                if let Err(end) = self.step().await {
                    break end;
                }
            },
            Err(end) => end,
        };
        match end {
            End::Closed(close) => {
                let reason = word(&close);
                self.connection.outbox.close(&close);
                self.finish().await;
                reason
            }
            End::Client => {
                self.finish().await;
                "client"
            }
            End::Lost => "lost",
        }
    }

    /// Waits for one thing to happen and deals with it.
    async fn step(&mut self) -> Result<(), End> {
        let Self { connection, asks, timer, .. } = self;
        let may_read = asks.len() < WINDOW;
        let outbox = &connection.outbox;
        tokio::select! {
            message = connection.stream.next(), if may_read => self.receive(message),
            signal = poll_fn(|context| outbox.poll_signal(context)) => match signal {
                Ok(signal) => self.apply(Input::Signal(signal)),
                Err(_) => Err(End::Lost),
            },
            Some(answer) = asks.next(), if !asks.is_empty() => self.answered(answer),
            () = timer.as_mut() => {
                let outcome = self.apply(Input::Timer);
                let deadline = self.server.clock.instant(self.connection.door.deadline());
                self.timer.as_mut().reset(deadline);
                outcome
            }
        }
    }

    fn receive(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.connection.entry.metrics.received_bytes.increment(text.len() as u64);
                self.apply(Input::Text(text.as_str()))
            }
            Some(Ok(Message::Binary(_))) => self.apply(Input::Binary),
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
        let mut actions = Vec::new();
        let now = self.server.clock.now();
        self.connection.door.apply(input, &entry.app, now, &mut actions);
        actions.into_iter().try_for_each(|action| self.act(action, &entry))
    }

    fn act(&mut self, action: Action, entry: &AppEntry) -> Result<(), End> {
        let outbox = &self.connection.outbox;
        match action {
            // An outbox that is full closes the connection by itself.
            Action::Send(text) => drop(outbox.send(text_frame(&text))),
            Action::Ping => drop(outbox.send(ping_frame())),
            Action::Ask { channel, request } => {
                let ask = self.ask(channel, request, entry);
                self.asks.push(ask);
            }
            Action::Close(close) => return Err(End::Closed(close)),
        }
        Ok(())
    }

    /// Gives a request to its channel. The command is on its way when this returns.
    fn ask(&self, channel: ChannelName, request: Request, entry: &AppEntry) -> Ask {
        let socket = self.connection.socket;
        let router = &self.server.router;
        let relay = router.me().clone();
        let command = match &request {
            Request::Join(role) => {
                let joined = Joined { socket, role: role.clone() };
                Command::Join { relay, joined }
            }
            Request::Unsubscribe => Command::Unsubscribe { relay, socket },
            Request::Publish(event) => {
                if let Err(error) = router.admit(&entry.app.id, Demand::Publishes(1)) {
                    entry.metrics.rate_limited("publishes");
                    return Box::pin(async { (channel, request, Err(error.into())) });
                }
                entry.metrics.published_client.increment(1);
                Command::Publish(Draft {
                    id: self.server.event_id(),
                    event: event.clone(),
                    origin: Origin::Client { socket, user: None },
                    ttl_seconds: 0,
                    priority: Priority::default(),
                })
            }
        };
        let key = ChannelKey { app: entry.app.id.clone(), channel: channel.clone() };
        let answer = router.ask(key, command, None);
        Box::pin(async move { (channel, request, answer.await.map_err(Refusal::from)) })
    }

    fn answered(&mut self, (channel, request, answer): Answer) -> Result<(), End> {
        let refusal = match answer {
            Ok(Reply::Refused(refusal)) | Err(refusal) => Some(refusal),
            Ok(_) => None,
        };
        if let Request::Join(Role::Subscriber(_)) = &request {
            let result = if refusal.is_some() { "refused" } else { "succeeded" };
            self.connection.entry.metrics.subscribed(channel.kind().label(), result);
        }
        match refusal {
            Some(refusal) => self.apply(Input::Refused { channel, request, refusal }),
            None => Ok(()),
        }
    }

    /// Sends what is left, and reads until the client has closed its side: a socket that is closed
    /// with unread bytes takes the close frame down with it.
    async fn finish(mut self) {
        let Connection { outbox, stream, .. } = &mut self.connection;
        let sent = timeout(CLOSING, poll_fn(|context| outbox.poll_empty(context))).await;
        if matches!(sent, Ok(Ok(()))) {
            let closed = async { while let Some(Ok(_)) = stream.next().await {} };
            // A client that does not answer is closed all the same.
            let _ = timeout(CLOSING, closed).await;
        }
    }
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
