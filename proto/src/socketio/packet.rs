//! Packets in their text form: `<type>[<attachments>-][<namespace>,][<ack id>][JSON]`. Attachments
//! follow as binary messages, one each.

use crate::json::push_string;

use super::arguments::{Arguments, check, check_placeholders};

/// Attachments of one packet, as `socket.io-parser` has it.
pub const ATTACHMENTS_MAX: usize = 10;
/// Names that no event can have: they mean something else in clients and servers.
pub const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// The namespace that is not written.
const MAIN: &str = "/";

/// A packet, without the contents of its attachments until they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The namespace that it belongs to; it begins with a slash.
    pub namespace: String,
    /// What it says.
    pub body: Body,
}

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A client wants to connect, with a JSON object that says who it is; or a server lets it, with
    /// one that has the socket's id.
    Connect(Option<String>),
    /// The sender leaves the namespace.
    Disconnect,
    /// An event.
    Event {
        /// Its name.
        name: String,
        /// Its arguments.
        arguments: Arguments,
        /// The id that the receiver's acknowledgement shall have, if it wants one.
        ack: Option<u64>,
    },
    /// An acknowledgement of an event.
    Ack {
        /// The event's id.
        id: u64,
        /// The arguments.
        arguments: Arguments,
    },
    /// The server does not let the client in; an object or a string says why.
    ConnectError(String),
}

/// A packet as its text says, and how many attachments follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The packet.
    pub packet: Packet,
    /// How many binary messages complete it.
    pub attachments: usize,
}

/// What came is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a Socket.IO packet")]
pub struct Malformed;

impl Typed {
    /// Reads the text of a packet.
    ///
    /// # Errors
    /// [`Malformed`]: an unknown type, a bad number, too many attachments or other placeholders
    /// than attachments, or a payload that this type cannot have.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let kind = *text.as_bytes().first().ok_or(Malformed)?;
        let rest = text.get(1..).ok_or(Malformed)?;
        let (attachments, rest) = match kind {
            b'5' | b'6' => take_attachments(rest)?,
            _ => (0, rest),
        };
        let (namespace, rest) = take_namespace(rest);
        let (ack, payload) = take_ack(rest)?;
        if attachments > 0 {
            check_placeholders(payload, attachments)?;
        }
        let body = body(kind, ack, payload)?;
        Ok(Self { packet: Packet { namespace: namespace.to_owned(), body }, attachments })
    }
}

impl Packet {
    /// The text. Attachments are counted in it, and are to be sent after it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (kind, ack) = match &self.body {
            Body::Connect(_) => ('0', None),
            Body::Disconnect => ('1', None),
            Body::Event { ack, .. } => ('2', *ack),
            Body::Ack { id, .. } => ('3', Some(*id)),
            Body::ConnectError(_) => ('4', None),
        };
        let mut out = String::new();
        match (self.attachments().len(), kind) {
            (0, _) => out.push(kind),
            (count, '2') => out.push_str(&format!("5{count}-")),
            (count, _) => out.push_str(&format!("6{count}-")),
        }
        if self.namespace != MAIN {
            out.push_str(&self.namespace);
            out.push(',');
        }
        out.extend(ack.map(|ack| ack.to_string()));
        self.push_payload(&mut out);
        out
    }

    /// The attachments, in their order.
    #[must_use]
    pub fn attachments(&self) -> &[Vec<u8>] {
        match &self.body {
            Body::Event { arguments, .. } | Body::Ack { arguments, .. } => &arguments.attachments,
            Body::Connect(_) | Body::Disconnect | Body::ConnectError(_) => &[],
        }
    }

    /// Completes the packet with its attachments.
    #[must_use]
    pub fn with(mut self, bytes: Vec<Vec<u8>>) -> Self {
        if let Body::Event { arguments, .. } | Body::Ack { arguments, .. } = &mut self.body {
            arguments.attachments = bytes;
        }
        self
    }

    fn push_payload(&self, out: &mut String) {
        match &self.body {
            Body::Connect(None) | Body::Disconnect => {}
            Body::Connect(Some(json)) | Body::ConnectError(json) => out.push_str(json),
            Body::Ack { arguments, .. } => out.push_str(&arguments.json),
            Body::Event { name, arguments, .. } => push_event(name, &arguments.json, out),
        }
    }
}

/// Writes an event's array: its name before its arguments.
fn push_event(name: &str, arguments: &str, out: &mut String) {
    out.push('[');
    push_string(out, name);
    let inner = arguments.trim().strip_prefix('[').unwrap_or("]").trim_start();
    if inner != "]" {
        out.push(',');
    }
    out.push_str(inner);
}

fn take_attachments(text: &str) -> Result<(usize, &str), Malformed> {
    let (count, rest) = text.split_once('-').ok_or(Malformed)?;
    let count = number(count)?;
    match usize::try_from(count) {
        Ok(count) if count <= ATTACHMENTS_MAX => Ok((count, rest)),
        _ => Err(Malformed),
    }
}

fn take_namespace(text: &str) -> (&str, &str) {
    match text.starts_with('/') {
        true => text.split_once(',').unwrap_or((text, "")),
        false => (MAIN, text),
    }
}

fn take_ack(text: &str) -> Result<(Option<u64>, &str), Malformed> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.split_at(end) {
        ("", rest) => Ok((None, rest)),
        (digits, rest) => Ok((Some(number(digits)?), rest)),
    }
}

fn number(digits: &str) -> Result<u64, Malformed> {
    // A sign is a number to Rust.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| digits.parse().ok()).flatten();
    number.ok_or(Malformed)
}

fn body(kind: u8, ack: Option<u64>, payload: &str) -> Result<Body, Malformed> {
    match (kind, ack, payload) {
        (b'0', None, "") => Ok(Body::Connect(None)),
        (b'0', None, json) => {
            check(json, '{')?;
            Ok(Body::Connect(Some(json.to_owned())))
        }
        (b'1', None, "") => Ok(Body::Disconnect),
        (b'2' | b'5', ack, json) => {
            check(json, '[')?;
            let (name, arguments) = split_event(json)?;
            Ok(Body::Event { name, arguments: Arguments::of(arguments), ack })
        }
        (b'3' | b'6', Some(id), json) => {
            check(json, '[')?;
            Ok(Body::Ack { id, arguments: Arguments::of(json) })
        }
        (b'4', None, json) => {
            check(json, '{').or_else(|_| check(json, '"'))?;
            Ok(Body::ConnectError(json.to_owned()))
        }
        _ => Err(Malformed),
    }
}

/// Divides an event's array, which is known to be one, into its name and the array of its arguments.
fn split_event(array: &str) -> Result<(String, String), Malformed> {
    let inner = array.trim().strip_prefix('[').ok_or(Malformed)?;
    let mut values = serde_json::Deserializer::from_str(inner).into_iter::<String>();
    let name = values.next().and_then(Result::ok).ok_or(Malformed)?;
    if RESERVED.contains(&name.as_str()) {
        return Err(Malformed);
    }
    let rest = inner[values.byte_offset()..].trim_start();
    let arguments = match rest.strip_prefix(',') {
        Some(rest) => format!("[{}", rest.trim_start()),
        None => "[]".to_owned(),
    };
    Ok((name, arguments))
}

#[cfg(test)]
mod tests;
