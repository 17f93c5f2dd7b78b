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
use proto::socketio::{self, Action, Arguments, Input, Sockets};
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
    serve(&fixture.sessions, &fixture.terms(), request, move |link| converse(link, clock)).await
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

async fn converse(mut link: Link, clock: Clock) {
    let terms = socketio::Terms { namespaces: &["/", "/custom"], ..socketio::Terms::default() };
    let mut sockets = Sockets::new(terms, clock.now());
    loop {
        let mut actions = Vec::new();
        let deadline = sockets.deadline().map(|deadline| clock.instant(deadline));
        let message = tokio::select! {
            message = next(&mut link) => Some(message),
            () = sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)), if deadline.is_some() => None,
        };
        let input = match &message {
            Some(Some(Message::Text(text))) => Input::Text(text),
            Some(Some(Message::Binary(bytes))) => Input::Binary(bytes),
            Some(None) => break,
            None => Input::Timer,
        };
        sockets.apply(input, clock.now(), &mut actions);
        if !carry_out(&mut link, &mut sockets, actions, clock) {
            break;
        }
    }
    link.part().await;
}

/// Does what the machine wants, which may make it want more. False if the connection is to close.
fn carry_out(link: &mut Link, sockets: &mut Sockets, actions: Vec<Action>, clock: Clock) -> bool {
    let mut actions = VecDeque::from(actions);
    while let Some(action) = actions.pop_front() {
        let (sid, mut more) = (random::hex(20), Vec::new());
        let mut tell = |input| sockets.apply(input, clock.now(), &mut more);
        match action {
            Action::Send(text) => link.send_text(&text),
            Action::SendBinary(bytes) => link.send_binary(&bytes),
            Action::Asked { namespace, auth } if auth.contains(r#""token":"bad""#) => {
                tell(Input::Reject { namespace, message: "Authentication failed" });
            }
            Action::Asked { namespace, auth } => {
                link.trust();
                tell(Input::Accept { namespace, sid: &sid });
                let arguments = Arguments::of(format!("[{auth}]"));
                tell(Input::Emit { namespace, name: "auth", arguments });
            }
            Action::Event { namespace, name, arguments, ack } => match (name.as_str(), ack) {
                ("message", _) => tell(Input::Emit { namespace, name: "message-back", arguments }),
                ("message-with-ack", Some(id)) => tell(Input::Ack { namespace, id, arguments }),
                ("leave-me", _) => tell(Input::Disconnect { namespace }),
                _ => {}
            },
            Action::Acked { .. } | Action::Left { .. } => {}
            Action::Close(_) => return false,
        }
        actions.extend(more);
    }
    true
}
