//! What the test suites of Engine.IO and Socket.IO expect of a server, on Handbell's transports and
//! machines and nothing else. `cargo run --example socketio_fixture -- 127.0.0.1:3000`
//!
//! `/engine.io/` sends every message back. `/socket.io/` has the namespaces `/` and `/custom`, says
//! `auth` to who connects, and answers `message`, `message-with-ack` and `leave-me`. A token `bad`
//! is not let in. Who says `"recovery":true` in its auth, or comes back, can come back again; `lose`
//! loses an answer together with the connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::any;
use handbell::clock::Clock;
use handbell::engineio::{Link, Sessions, Terms, serve};
use handbell::{listen, random};
use proto::app::Secret;
use proto::engineio::{Message, Timing};
use proto::socketio::{
    self, Accepted, Action, Arguments, Away, Input, Keeping, Resumable, Resume, Sockets,
};
use proto::{App, AppId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

struct Fixture {
    clock: Clock,
    app: App,
    timing: Timing,
    sessions: Sessions,
    away: mpsc::Sender<Ask>,
}

/// What is asked of the keeper of sockets that may come back.
enum Ask {
    Keep(Box<Resumable>),
    Resume(Resume, oneshot::Sender<Option<Resumable>>),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = listen::bind(address.parse()?)?;
    let (clock, (away, asks)) = (Clock::start(), mpsc::channel(64));
    tokio::spawn(keep(asks, clock));
    let fixture = Fixture {
        clock,
        app: App::new(AppId::parse("fixture")?, "key", Secret::new("secret")),
        timing: Timing {
            ping_interval: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(200),
            ..Timing::default()
        },
        sessions: Sessions::default(),
        away,
    };
    let routes = Router::new()
        .route("/engine.io/", any(engine))
        .route("/socket.io/", any(sockets))
        .with_state(Arc::new(fixture));
    let stop = watch::Sender::new(false);
    println!("listening on {}", listener.local_addr()?);
    listen::serve(listener, None, routes, stop.subscribe()).await;
    Ok(())
}

async fn engine(State(fixture): State<Arc<Fixture>>, request: Request<Body>) -> Response<Body> {
    serve(&fixture.sessions, &fixture.terms(), request, echo).await
}

async fn sockets(State(fixture): State<Arc<Fixture>>, request: Request<Body>) -> Response<Body> {
    let (clock, away) = (fixture.clock, fixture.away.clone());
    let start = move |link| Conversation::new(link, clock, away).run();
    serve(&fixture.sessions, &fixture.terms(), request, start).await
}

async fn keep(mut asks: mpsc::Receiver<Ask>, clock: Clock) {
    let mut away = Away::new(Keeping::default());
    while let Some(ask) = asks.recv().await {
        match ask {
            Ask::Keep(socket) => away.keep(*socket, clock.now()),
            // Who asked may have gone meanwhile.
            Ask::Resume(resume, reply) => drop(reply.send(away.resume(&resume, clock.now()))),
        }
    }
}

impl Fixture {
    fn terms(&self) -> Terms<'_> {
        Terms { clock: self.clock, app: &self.app, timing: self.timing }
    }
}

/// The next message; none if the session is over.
async fn next(link: &mut Link) -> Option<Message> {
    let outbox = Arc::clone(link.outbox());
    tokio::select! {
        message = link.next() => message.ok(),
        // It writes what waits; the only news that can come here is that it is full.
        _ = poll_fn(|context| outbox.poll_signal(context)) => None,
    }
}

async fn echo(mut link: Link) {
    while let Some(message) = next(&mut link).await {
        match message {
            Message::Text(text) => link.send_text(&text),
            Message::Binary(bytes) => link.send_binary(&bytes),
        }
    }
    link.part().await;
}

struct Conversation {
    link: Link,
    sockets: Sockets,
    clock: Clock,
    away: mpsc::Sender<Ask>,
}

impl Conversation {
    fn new(link: Link, clock: Clock, away: mpsc::Sender<Ask>) -> Self {
        let terms = socketio::Terms { namespaces: &["/", "/custom"], ..socketio::Terms::default() };
        Self { link, sockets: Sockets::new(terms, clock.now()), clock, away }
    }

    async fn run(mut self) {
        while let Some(actions) = self.step().await {
            if !self.carry_out(actions).await {
                break;
            }
        }
        let lost = self.tell(Input::Lost);
        self.carry_out(lost).await;
        self.link.part().await;
    }

    /// Waits for one thing to happen. None if the session is over.
    async fn step(&mut self) -> Option<Vec<Action>> {
        let timer = async |deadline| match deadline {
            Some(deadline) => sleep_until(self.clock.instant(deadline)).await,
            None => std::future::pending().await,
        };
        let message = tokio::select! {
            message = next(&mut self.link) => Some(message?),
            () = timer(self.sockets.deadline()) => None,
        };
        Some(match &message {
            Some(Message::Text(text)) => self.tell(Input::Text(text)),
            Some(Message::Binary(bytes)) => self.tell(Input::Binary(bytes)),
            None => self.tell(Input::Timer),
        })
    }

    fn tell(&mut self, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.sockets.apply(input, self.clock.now(), &mut actions);
        actions
    }

    /// Does what the machine wants, which may make it want more. False if the connection is to close.
    async fn carry_out(&mut self, actions: Vec<Action>) -> bool {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            let more = match action {
                Action::Send(text) => {
                    self.link.send_text(&text);
                    Vec::new()
                }
                Action::SendBinary(bytes) => {
                    self.link.send_binary(&bytes);
                    Vec::new()
                }
                Action::Asked { namespace, auth } => self.asked(namespace, &auth).await,
                Action::Event { namespace, name, arguments, .. } if name == "lose" => {
                    // It is kept, and not sent.
                    self.tell(Input::Emit { namespace, name: "lost", arguments });
                    return false;
                }
                Action::Event { namespace, name, arguments, ack } => {
                    self.event(namespace, &name, arguments, ack)
                }
                Action::Left { resumable: Some(socket), .. } => {
                    // The keeper lives as long as the process.
                    let _ = self.away.send(Ask::Keep(socket)).await;
                    Vec::new()
                }
                Action::Acked { .. } | Action::Left { .. } => Vec::new(),
                Action::Close(_) => return false,
            };
            actions.extend(more);
        }
        true
    }

    async fn asked(&mut self, namespace: &'static str, auth: &str) -> Vec<Action> {
        if auth.contains(r#""token":"bad""#) {
            return self.tell(Input::Reject { namespace, message: "Authentication failed" });
        }
        self.link.trust();
        let (sid, pid) = (random::hex(20), random::hex(32));
        let socket = match resume(&self.away, auth).await {
            Some(socket) => return self.accept(namespace, Accepted::Resumable(Box::new(socket))),
            None if auth.contains(r#""recovery":true"#) => {
                Accepted::Resumable(Box::new(Resumable::new(sid, pid, Keeping::default())))
            }
            None => Accepted::Passing(&sid),
        };
        let mut actions = self.accept(namespace, socket);
        let arguments = Arguments::of(format!("[{auth}]"));
        actions.extend(self.tell(Input::Emit { namespace, name: "auth", arguments }));
        actions
    }

    fn accept(&mut self, namespace: &'static str, socket: Accepted<'_>) -> Vec<Action> {
        self.tell(Input::Accept { namespace, socket })
    }

    fn event(
        &mut self,
        namespace: &'static str,
        name: &str,
        arguments: Arguments,
        ack: Option<u64>,
    ) -> Vec<Action> {
        match (name, ack) {
            ("message", _) => self.tell(Input::Emit { namespace, name: "message-back", arguments }),
            ("message-with-ack", Some(id)) => self.tell(Input::Ack { namespace, id, arguments }),
            ("leave-me", _) => self.tell(Input::Disconnect { namespace }),
            _ => Vec::new(),
        }
    }
}

async fn resume(away: &mpsc::Sender<Ask>, auth: &str) -> Option<Resumable> {
    let (reply, answer) = oneshot::channel();
    away.send(Ask::Resume(Resume::of(auth)?, reply)).await.ok()?;
    answer.await.ok()?
}
