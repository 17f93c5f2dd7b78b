//! What the test suites of Engine.IO and Socket.IO expect of a server, on Handbell's transports and
//! machines and nothing else. `cargo run --example socketio_fixture -- 127.0.0.1:3000`
//!
//! `/engine.io/` sends every message back. `/socket.io/` has the namespaces `/` and `/custom`, says
//! `auth` to who connects, and answers `message`, `message-with-ack` and `leave-me`. A token `bad`
//! is not let in.

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
use proto::socketio::{self, Action, Arguments, Input, Socket, Sockets};
use proto::{App, AppId};
use tokio::sync::watch;
use tokio::time::sleep_until;

struct Fixture {
    clock: Clock,
    app: App,
    timing: Timing,
    sessions: Sessions,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = listen::bind(address.parse()?)?;
    let fixture = Fixture {
        clock: Clock::start(),
        app: App::new(AppId::parse("fixture")?, "key", Secret::new("secret")),
        timing: Timing {
            ping_interval: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(200),
            ..Timing::default()
        },
        sessions: Sessions::default(),
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
    let clock = fixture.clock;
    let start = move |link| Conversation::new(link, clock).run();
    serve(&fixture.sessions, &fixture.terms(), request, start).await
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
}

impl Conversation {
    fn new(link: Link, clock: Clock) -> Self {
        let namespaces = Arc::new(["/".into(), "/custom".into()]);
        let terms = socketio::Terms { namespaces, ..socketio::Terms::default() };
        Self { link, sockets: Sockets::new(terms, clock.now()), clock }
    }

    async fn run(mut self) {
        while let Some(actions) = self.step().await {
            if !self.carry_out(actions) {
                break;
            }
        }
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
    fn carry_out(&mut self, actions: Vec<Action>) -> bool {
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
                Action::Asked { namespace, auth } => self.asked(&namespace, &auth),
                Action::Event { namespace, name, arguments, ack } => {
                    self.event(&namespace, &name, arguments, ack)
                }
                Action::Acked { .. } | Action::Left { .. } => Vec::new(),
                Action::Close(_) => return false,
            };
            actions.extend(more);
        }
        true
    }

    fn asked(&mut self, namespace: &str, auth: &str) -> Vec<Action> {
        if auth.contains(r#""token":"bad""#) {
            return self.tell(Input::Reject { namespace, message: "Authentication failed" });
        }
        self.link.trust();
        let id = random::hex(20);
        let socket = Socket { id: &id, private: None };
        let mut actions = self.tell(Input::Accept { namespace, socket });
        let arguments = Arguments::of(format!("[{auth}]"));
        actions.extend(self.tell(Input::Emit { namespace, name: "auth", arguments }));
        actions
    }

    fn event(
        &mut self,
        namespace: &str,
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
