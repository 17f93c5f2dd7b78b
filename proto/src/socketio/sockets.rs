//! The sockets of one connection, as a machine: connect to namespaces, events, acknowledgements.
//!
//! ```text
//!   CONNECT ──► asked ──Accept──► connected ──DISCONNECT or Disconnect──► gone
//!                 └─────Reject──► gone
//! ```
//!
//! A client that does not keep to it is closed as a whole, as the JavaScript server does it. What a
//! connection holds is bounded by the namespaces that exist, and one packet that waits for its
//! attachments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::json::quoted;
use crate::time::{Moment, Now};

use super::arguments::Arguments;
use super::packet::{Body, Malformed, Packet, Typed};

/// What connections are held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The namespaces that exist.
    pub namespaces: Arc<[Arc<str>]>,
    /// How long a connection may be without ever having been let into a namespace.
    pub connect_timeout: Duration,
    /// Bytes of all attachments of one packet.
    pub attachment_bytes: usize,
}

/// As the JavaScript server.
impl Default for Terms {
    fn default() -> Self {
        Self {
            namespaces: Arc::new(["/".into()]),
            connect_timeout: Duration::from_secs(45),
            attachment_bytes: 1_000_000,
        }
    }
}

/// The state of one connection.
#[derive(Debug)]
pub struct Sockets {
    terms: Terms,
    /// None as soon as the client was let in somewhere.
    connect_by: Option<Moment>,
    /// Whether the client was let into each namespace that it asked for.
    states: BTreeMap<Arc<str>, bool>,
    partial: Option<Partial>,
    is_closed: bool,
}

/// A packet that waits for attachments.
#[derive(Debug)]
struct Partial {
    packet: Packet,
    missing: usize,
    bytes: usize,
    attachments: Vec<Vec<u8>>,
}

/// What happens to a connection: from the client, or from the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A text message came.
    Text(&'a str),
    /// A binary message came.
    Binary(&'a [u8]),
    /// The connection is lost, or closed by the client.
    Lost,
    /// The deadline has come.
    Timer,
    /// The application lets a client into a namespace that it was asked for.
    Accept {
        /// The namespace.
        namespace: &'a str,
        /// As which socket.
        socket: Socket<'a>,
    },
    /// The application does not let it in.
    Reject {
        /// The namespace.
        namespace: &'a str,
        /// Why, for a person.
        message: &'a str,
    },
    /// The application sends an event.
    Emit {
        /// The namespace.
        namespace: &'a str,
        /// The event's name, which is not a reserved one.
        name: &'a str,
        /// Its arguments.
        arguments: Arguments,
    },
    /// The application acknowledges an event.
    Ack {
        /// The namespace.
        namespace: &'a str,
        /// The id that came with the event.
        id: u64,
        /// The arguments.
        arguments: Arguments,
    },
    /// The application ends the client's socket of a namespace.
    Disconnect {
        /// The namespace.
        namespace: &'a str,
    },
}

/// The socket of a client that is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket<'a> {
    /// Its id, which others may know.
    pub id: &'a str,
    /// What the client says to come back as the same socket, if it may. A client that is told the one
    /// that it has said takes its state for recovered.
    pub private: Option<&'a str>,
}

/// What a connection wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a text message.
    Send(String),
    /// Send a binary message.
    SendBinary(Vec<u8>),
    /// Ask the application to let the client into a namespace.
    Asked {
        /// The namespace.
        namespace: Arc<str>,
        /// What the client says of itself: a JSON object.
        auth: String,
    },
    /// An event for the application.
    Event {
        /// The namespace.
        namespace: Arc<str>,
        /// The event's name.
        name: String,
        /// Its arguments.
        arguments: Arguments,
        /// The id to acknowledge it with, if the client wants that.
        ack: Option<u64>,
    },
    /// The client acknowledges an event.
    Acked {
        /// The namespace.
        namespace: Arc<str>,
        /// The event's id.
        id: u64,
        /// The arguments.
        arguments: Arguments,
    },
    /// The client is no longer in a namespace that it had asked for, or was let into.
    Left {
        /// The namespace.
        namespace: Arc<str>,
    },
    /// Close the connection, after what was sent.
    Close(Closed),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// What came was not the protocol.
    Malformed,
    /// The client was let in nowhere in time.
    ConnectTimeout,
}

impl Sockets {
    /// A connection that has just been opened.
    #[must_use]
    pub fn new(terms: Terms, now: Now) -> Self {
        let connect_by = Some(now.moment + terms.connect_timeout);
        Self { terms, connect_by, states: BTreeMap::new(), partial: None, is_closed: false }
    }

    /// When [`Input::Timer`] is to be applied next; none if never.
    #[must_use]
    pub const fn deadline(&self) -> Option<Moment> {
        self.connect_by
    }

    /// Tells the connection what happened. What it wants done is appended to `actions`, in order.
    /// What the application says of a namespace that the client is not in any more has no effect.
    pub fn apply(&mut self, input: Input<'_>, now: Now, actions: &mut Vec<Action>) {
        if self.is_closed {
            return;
        }
        match input {
            Input::Text(text) => {
                let outcome = self.text(text, actions);
                self.judge(outcome, actions);
            }
            Input::Binary(bytes) => {
                let outcome = self.binary(bytes, actions);
                self.judge(outcome, actions);
            }
            Input::Lost => self.leave_all(actions),
            Input::Timer => {
                if self.connect_by.is_some_and(|by| by <= now.moment) {
                    self.close(Closed::ConnectTimeout, actions);
                }
            }
            Input::Accept { namespace, socket } => self.accept(namespace, socket, actions),
            Input::Reject { namespace, message } => self.reject(namespace, message, actions),
            Input::Emit { namespace, name, arguments } => {
                let body = Body::Event { name: name.to_owned(), arguments, ack: None };
                self.say(namespace, body, actions);
            }
            Input::Ack { namespace, id, arguments } => {
                self.say(namespace, Body::Ack { id, arguments }, actions);
            }
            Input::Disconnect { namespace } => {
                self.say(namespace, Body::Disconnect, actions);
                self.states.remove(namespace);
            }
        }
    }

    fn text(&mut self, text: &str, actions: &mut Vec<Action>) -> Result<(), Malformed> {
        if self.partial.is_some() {
            return Err(Malformed);
        }
        let Typed { packet, attachments: missing } = Typed::parse(text)?;
        if missing == 0 {
            return self.receive(packet, actions);
        }
        self.partial = Some(Partial { packet, missing, bytes: 0, attachments: Vec::new() });
        Ok(())
    }

    fn binary(&mut self, bytes: &[u8], actions: &mut Vec<Action>) -> Result<(), Malformed> {
        let mut partial = self.partial.take().ok_or(Malformed)?;
        partial.bytes += bytes.len();
        if partial.bytes > self.terms.attachment_bytes {
            return Err(Malformed);
        }
        partial.attachments.push(bytes.to_vec());
        partial.missing -= 1;
        if partial.missing == 0 {
            return self.receive(partial.packet.with(partial.attachments), actions);
        }
        self.partial = Some(partial);
        Ok(())
    }

    fn receive(&mut self, packet: Packet, actions: &mut Vec<Action>) -> Result<(), Malformed> {
        let known = self.terms.namespaces.iter().find(|known| ***known == *packet.namespace);
        let known = known.map(Arc::clone);
        let state = known.as_ref().and_then(|namespace| self.states.get(namespace));
        match (packet.body, known, state) {
            (Body::Connect(auth), Some(namespace), None) => {
                self.states.insert(Arc::clone(&namespace), false);
                let auth = auth.unwrap_or_else(|| "{}".to_owned());
                actions.push(Action::Asked { namespace, auth });
            }
            (Body::Connect(_), None, _) => {
                refuse(&packet.namespace, "Invalid namespace", actions);
            }
            (Body::Event { name, arguments, ack }, Some(namespace), Some(true)) => {
                actions.push(Action::Event { namespace, name, arguments, ack });
            }
            (Body::Ack { id, arguments }, Some(namespace), Some(true)) => {
                actions.push(Action::Acked { namespace, id, arguments });
            }
            (Body::Disconnect, Some(namespace), Some(_)) => {
                self.states.remove(&namespace);
                actions.push(Action::Left { namespace });
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn judge(&mut self, outcome: Result<(), Malformed>, actions: &mut Vec<Action>) {
        if outcome.is_err() {
            self.close(Closed::Malformed, actions);
        }
    }

    fn close(&mut self, why: Closed, actions: &mut Vec<Action>) {
        self.leave_all(actions);
        actions.push(Action::Close(why));
    }

    /// Nothing more happens on this connection.
    fn leave_all(&mut self, actions: &mut Vec<Action>) {
        let left = std::mem::take(&mut self.states).into_keys();
        actions.extend(left.map(|namespace| Action::Left { namespace }));
        self.partial = None;
        self.connect_by = None;
        self.is_closed = true;
    }

    fn accept(&mut self, namespace: &str, socket: Socket<'_>, actions: &mut Vec<Action>) {
        let Some(is_connected @ false) = self.states.get_mut(namespace) else { return };
        *is_connected = true;
        self.connect_by = None;
        let Socket { id, private } = socket;
        let greeting = match private {
            Some(private) => {
                format!("{{\"sid\":{},\"pid\":{}}}", quoted(id), quoted(private))
            }
            None => object("sid", id),
        };
        let body = Body::Connect(Some(greeting));
        send(Packet { namespace: namespace.to_owned(), body }, actions);
    }

    fn reject(&mut self, namespace: &str, message: &str, actions: &mut Vec<Action>) {
        if self.states.get(namespace) == Some(&false) {
            self.states.remove(namespace);
            refuse(namespace, message, actions);
        }
    }

    fn say(&self, namespace: &str, body: Body, actions: &mut Vec<Action>) {
        if self.states.get(namespace) == Some(&true) {
            send(Packet { namespace: namespace.to_owned(), body }, actions);
        }
    }
}

fn refuse(namespace: &str, message: &str, actions: &mut Vec<Action>) {
    let body = Body::ConnectError(object("message", message));
    send(Packet { namespace: namespace.to_owned(), body }, actions);
}

fn object(key: &str, value: &str) -> String {
    format!("{{\"{key}\":{}}}", quoted(value))
}

fn send(packet: Packet, actions: &mut Vec<Action>) {
    actions.push(Action::Send(packet.to_text()));
    if let Body::Event { arguments, .. } | Body::Ack { arguments, .. } = packet.body {
        actions.extend(arguments.attachments.into_iter().map(Action::SendBinary));
    }
}

#[cfg(test)]
mod tests;
