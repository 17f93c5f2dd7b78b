//! Any messages to a Socket.IO connection with namespaces of each profile, and any verdicts and answers:
//! it never panics, what it sends reads as packets of namespaces that exist, and it is closed at most
//! once for what a client says.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use proto::app::Secret;
use proto::authorization::{Backend, Shown};
use proto::channel::Reply;
use proto::door::{Action, Input, Signal};
use proto::socketio::Typed;
use proto::token::{Grant, issue, verify};
use proto::topics::{Identity, Session};
use proto::visitor::Visitor;
use proto::{App, AppId, Moment, Now, Refusal, SocketId};

const UNIX_MS: u64 = 1_800_000_000_000;

/// What happens.
#[derive(Arbitrary, Debug)]
enum Happening<'a> {
    Text(&'a str),
    /// In a namespace, so that more of them mean something.
    Event {
        namespace: u8,
        name: u8,
        arguments: &'a str,
    },
    Connect {
        namespace: u8,
        auth: &'a str,
    },
    Binary(&'a [u8]),
    /// Whatever is asked for next is granted, refused, or answered with this.
    Grant,
    Refuse,
    Answer(&'a [u8]),
    Terminate,
    Wait(u16),
}

const NAMESPACES: [&str; 4] = ["", "/admin,", "/echo,", "/none,"];
const NAMES: [&str; 6] =
    ["subscribe", "unsubscribe", "publish", "heartbeat", "client event", "other"];

fn app() -> App {
    let app = App::new(AppId::parse("a").unwrap(), "key", Secret::new("secret"));
    let namespaces = r#"{"/admin":"topics","/echo":"laravel-echo"}"#;
    let backend = Backend {
        url: "https://app.example/".into(),
        allow_private_address: false,
        timeout: std::time::Duration::from_secs(3),
        headers: vec!["cookie".into()],
    };
    App {
        namespaces: serde_json::from_str(namespaces).unwrap(),
        laravel_echo: Some(backend),
        ..app
    }
}

fn visitor(app: &App) -> Visitor {
    let permissions = ["*".to_owned()];
    let exp = UNIX_MS / 1000 + 600;
    let grant = Grant { sub: "7", exp, app: None, role: None, permissions: &permissions };
    Visitor::with(verify(&issue(&app.secrets[0], &grant), app, &[], UNIX_MS).unwrap())
}

fuzz_target!(|happenings: Vec<Happening<'_>>| {
    let app = app();
    let mut now = Now { moment: Moment::from_micros(1), unix_ms: UNIX_MS };
    let identity = Identity { id: "id".into(), secret: "secret".into() };
    let mut session = Session::new(identity, Shown::default(), &app, now);
    // What the connection waits for.
    let mut asked: Vec<(Option<SocketId>, Action)> = Vec::new();
    let mut closes = 0;
    for happening in happenings {
        let mut actions = Vec::new();
        if let Happening::Wait(seconds) = happening {
            now.moment = now.moment + std::time::Duration::from_secs(seconds.into());
        }
        let mut tell = |to, input| session.apply((to, input), &app, now, &mut actions);
        match happening {
            Happening::Text(text) => tell(None, Input::Text(text)),
            Happening::Event { namespace, name, arguments } => {
                let namespace = NAMESPACES[usize::from(namespace) % NAMESPACES.len()];
                let name = NAMES[usize::from(name) % NAMES.len()];
                tell(None, Input::Text(&format!(r#"2{namespace}1["{name}",{arguments}]"#)));
            }
            Happening::Connect { namespace, auth } => {
                let namespace = NAMESPACES[usize::from(namespace) % NAMESPACES.len()];
                tell(None, Input::Text(&format!(r#"0{namespace}{{"token":"t","pid":"{auth}"}}"#)));
            }
            Happening::Binary(bytes) => tell(None, Input::Binary(bytes)),
            Happening::Terminate => tell(None, Input::Signal(Signal::Terminated)),
            Happening::Wait(_) => tell(None, Input::Timer),
            Happening::Grant | Happening::Refuse | Happening::Answer(_) => {
                let Some((to, action)) = asked.pop() else { continue };
                let is_granted = !matches!(happening, Happening::Refuse);
                match action {
                    Action::Verify(_) | Action::Open { .. } => {
                        let verdict = match is_granted {
                            true => Ok(visitor(&app)),
                            false => Err("no".to_owned()),
                        };
                        tell(to, Input::Verified(verdict));
                    }
                    Action::Authorize { channel, number, .. } => {
                        let answer = match happening {
                            Happening::Answer(body) => Ok(body.to_vec()),
                            Happening::Grant => Ok(b"true".to_vec()),
                            _ => Err(Refusal::Unavailable),
                        };
                        tell(to, Input::Authorized { channel, number, answer });
                    }
                    Action::Ask { channel, request } if is_granted => {
                        let welcome = channel.clone();
                        tell(to, Input::Answered { channel, request, reply: Reply::Done });
                        let welcomed =
                            Signal::Welcomed { channel: welcome, subscribers: 1, is_whole: None };
                        tell(to, Input::Signal(welcomed));
                    }
                    Action::Ask { channel, request } => {
                        let refusal = Refusal::UnknownChannel;
                        tell(to, Input::Refused { channel, request, refusal });
                    }
                    _ => {}
                }
            }
        }
        for action in actions {
            match action {
                Action::Send(text) => {
                    let typed = Typed::parse(&text).expect(&text);
                    let namespace = &typed.packet.namespace;
                    let is_refusal = text.starts_with('4');
                    let is_known = ["/", "/admin", "/echo"].contains(&namespace.as_str());
                    assert!(is_known || is_refusal, "{text}");
                }
                Action::Close(_) => closes += 1,
                Action::Open { ref seat, .. } => asked.push((Some(seat.socket), action)),
                Action::For { socket, action } => asked.push((Some(socket), *action)),
                Action::Verify(_) | Action::Ask { .. } => asked.push((None, action)),
                _ => {}
            }
        }
        if closes > 0 {
            break;
        }
    }
    assert!(closes <= 1);
});
