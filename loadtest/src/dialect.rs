//! What is said to a server: Pusher's protocol to a broker, the least that works to the bare server.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::app::Secret;
use proto::http::signature::signed_query;
use proto::websocket::text_frame;
use serde_json::{Value, json};

use crate::door::{Door, Join, Step};

/// The event's name: with a channel's four letters and 100 bytes of data, a frame has 144 bytes.
const EVENT: &str = "e";

/// An app's credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its id in HTTP paths.
    pub app_id: String,
    /// Its public key.
    pub key: String,
    /// Its secret.
    pub secret: Secret,
}

impl Credentials {
    /// A signed request for something of the app, such as `events`.
    #[must_use]
    pub fn request(
        &self,
        (method, resource): (&str, &str),
        parameters: &[(&str, &str)],
        body: &str,
        headers: &[(&str, &str)],
    ) -> Vec<u8> {
        let path = format!("/apps/{}/{resource}", self.app_id);
        let signed = (method, path.as_str(), body.as_bytes());
        let query = signed_query((&self.key, &self.secret), signed, parameters, unix_seconds());
        request((method, &format!("{path}?{query}")), headers, body.as_bytes())
    }
}

/// How a server is spoken to.
#[derive(Clone, Debug)]
pub enum Dialect {
    /// Signed HTTP requests of Pusher's API; subscribers come in by a door.
    Pusher(Credentials, Door),
    /// A WebSocket belongs to the channel in its path; what is posted to that path is written to it
    /// as it is.
    Bare,
}

/// The name of a channel: four letters for the first thousand.
#[must_use]
pub fn channel_name(number: usize) -> String {
    format!("c{number:03}")
}

impl Dialect {
    /// The request that opens a connection.
    #[must_use]
    pub fn opening(&self, channel: &str) -> String {
        let path = match self {
            Self::Pusher(app, door) => door.path(app, channel),
            Self::Bare => format!("/{channel}"),
        };
        let head = format!("GET {path} HTTP/1.1\r\nhost: loadtest\r\n");
        if self.is_stream() {
            return format!("{head}accept: text/event-stream\r\n\r\n");
        }
        format!(
            "{head}connection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: aGFuZGJlbGwtbG9hZHRlcw==\r\n\r\n"
        )
    }

    /// The same, with subscribers at another door.
    #[must_use]
    pub fn at(self, door: Door) -> Self {
        match self {
            Self::Pusher(app, _) => Self::Pusher(app, door),
            Self::Bare => Self::Bare,
        }
    }

    /// What has to be done then, until the channel is subscribed.
    #[must_use]
    pub fn steps(&self, channel: &str) -> Vec<Step> {
        match self {
            Self::Pusher(app, door) => door.steps(app, channel),
            Self::Bare => Vec::new(),
        }
    }

    /// The same of a channel of any kind, or of none: then it ends with the greeting.
    #[must_use]
    pub fn entrance(&self, channel: Option<&str>, user: Option<&str>) -> Vec<Step> {
        let Self::Pusher(app, door) = self else { return Vec::new() };
        let greeting = Step::Expect("pusher:connection_established");
        match channel {
            None => vec![greeting],
            Some(name) if name.starts_with("private-") || name.starts_with("presence-") => {
                let join = Step::Join(Join::new(app, name, user));
                vec![greeting, join, Step::Expect("subscription_succeeded")]
            }
            Some(name) => door.steps(app, name),
        }
    }

    /// The app, if it is spoken to in Pusher's protocol.
    #[must_use]
    pub const fn pusher_app(&self) -> Option<&Credentials> {
        match self {
            Self::Pusher(app, Door::Pusher) => Some(app),
            _ => None,
        }
    }

    /// Whether subscribers get an event stream, and no WebSocket frames.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        matches!(self, Self::Pusher(_, door) if door.is_stream())
    }

    /// Appends the request that publishes one event, or several in one batch.
    pub fn publish(&self, out: &mut Vec<u8>, channel: &str, data: &[String]) {
        match self {
            Self::Pusher(app, _) => {
                let (resource, body) = match data {
                    [data] => ("events", event(channel, data)),
                    batch => {
                        let events: Vec<Value> =
                            batch.iter().map(|data| event(channel, data)).collect();
                        ("batch_events", json!({ "batch": events }))
                    }
                };
                out.extend(app.request(("POST", resource), &[], &body.to_string(), &[]));
            }
            Self::Bare => {
                let frames: Vec<u8> = data.iter().flat_map(|d| delivery(channel, d)).collect();
                out.extend(request(("POST", &format!("/{channel}")), &[], &frames));
            }
        }
    }
}

fn event(channel: &str, data: &str) -> Value {
    json!({ "name": EVENT, "channel": channel, "data": data })
}

/// The frame that a Pusher server would send for an event.
fn delivery(channel: &str, data: &str) -> impl Iterator<Item = u8> + use<> {
    let message = format!(r#"{{"event":"{EVENT}","channel":"{channel}","data":"{data}"}}"#);
    text_frame(&message).into_iter()
}

/// A request without a signature.
#[must_use]
pub fn request((method, target): (&str, &str), headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: loadtest\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a String takes everything");
    }
    let length = body.len();
    write!(head, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n")
        .expect("a String takes everything");
    [head.as_bytes(), body].concat()
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::http::Message;
    use crate::mark::Mark;

    const MARK: Mark = Mark { stream: 0, number: 1 };

    #[test]
    fn a_delivery_of_a_hundred_bytes_is_a_frame_of_144() {
        let (mut out, channel) = (Vec::new(), channel_name(0));
        Dialect::Bare.publish(&mut out, &channel, &[MARK.data(100), MARK.data(100)]);
        let body = Message::parse(&out).unwrap().body;
        assert_eq!(body.len(), 2 * 144);
        let frame = frame::parse(body).unwrap().unwrap();
        assert_eq!(frame.bytes, 144);
        assert_eq!(Mark::find(frame.payload, &mut 0), Some(MARK));
    }

    #[test]
    fn one_event_and_a_batch_go_to_their_own_resources() {
        let app = Credentials { app_id: "a".into(), key: "k".into(), secret: Secret::new("s") };
        let dialect = Dialect::Pusher(app, Door::default());
        for (count, resource) in [(1, "/apps/a/events?"), (2, "/apps/a/batch_events?")] {
            let mut out = Vec::new();
            dialect.publish(&mut out, "c000", &vec![MARK.data(100); count]);
            let request = Message::parse(&out).unwrap();
            assert!(request.second_word().starts_with(resource));
            assert_eq!(request.bytes, out.len());
        }
    }
}
