//! Connection state recovery: a socket whose connection was lost comes back under its id, and gets
//! what it missed.
//!
//! Each event that is sent to such a socket ends with an offset, an argument more, which the stock
//! client remembers (socket.io-client 4.6 and later) and sends when it connects again, together with
//! the private id that it was given. What was sent is kept in a log of limited length; a client that
//! needs more than is left of it begins anew, and knows it: `recovered` is false.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;

use crate::json::push_string;
use crate::time::{Moment, Now};

use super::arguments::Arguments;
use super::packet::{Body, Packet};

/// What is kept for clients that may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// For how long.
    pub time: Duration,
    /// Sockets. Beyond it: the one that is away the longest is forgotten.
    pub sockets: usize,
    /// Events of one socket. Beyond it: the oldest are forgotten.
    pub events: usize,
    /// Bytes of one socket's events. Beyond it: the oldest are forgotten.
    pub bytes: usize,
}

/// The time is the JavaScript server's.
impl Default for Keeping {
    fn default() -> Self {
        let time = Duration::from_secs(120);
        Self { time, sockets: 10_000, events: 128, bytes: 65_536 }
    }
}

/// A socket that can come back: who it is, and what it was sent last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumable {
    sid: String,
    /// Known to the client and nobody else.
    pid: String,
    keeping: Keeping,
    log: VecDeque<(u64, Packet)>,
    bytes: usize,
    /// The next event's number.
    next: u64,
}

impl Resumable {
    /// A new socket. Nobody must be able to guess `pid`.
    #[must_use]
    pub const fn new(sid: String, pid: String, keeping: Keeping) -> Self {
        Self { sid, pid, keeping, log: VecDeque::new(), bytes: 0, next: 0 }
    }

    /// The socket's id, which others may know.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// What the client is told when it is let in.
    pub(super) fn greeting(&self) -> String {
        let mut json = String::from("{\"sid\":");
        push_string(&mut json, &self.sid);
        json.push_str(",\"pid\":");
        push_string(&mut json, &self.pid);
        json.push('}');
        json
    }

    /// What the client has not got yet, as far as it is known.
    pub(super) fn missed(&self) -> impl Iterator<Item = &Packet> {
        self.log.iter().map(|(_, packet)| packet)
    }

    /// Gives an event its offset, and keeps it. Packets of another kind have none.
    pub(super) fn record(&mut self, packet: &mut Packet) {
        let Body::Event { arguments, ack: None, .. } = &mut packet.body else { return };
        append(arguments, &format!("{}.{}", tag(&self.sid), self.next));
        self.bytes += size(packet);
        self.log.push_back((self.next, packet.clone()));
        self.next += 1;
        while self.log.len() > self.keeping.events || self.bytes > self.keeping.bytes {
            self.forget_first();
        }
    }

    /// Forgets what the client has. False if something is missing between that and the log.
    ///
    /// A client that has had nothing from this socket shows no offset, or one of its last socket.
    fn caught_up_to(&mut self, offset: Option<&str>) -> bool {
        let own = offset.and_then(|offset| offset.strip_prefix(tag(&self.sid))?.strip_prefix('.'));
        let wanted = match own.map(str::parse::<u64>) {
            None => 0,
            Some(Ok(last)) => last.saturating_add(1),
            Some(Err(_)) => return false,
        };
        let first = self.log.front().map_or(self.next, |(number, _)| *number);
        if wanted < first || wanted > self.next {
            return false;
        }
        while self.log.front().is_some_and(|(number, _)| *number < wanted) {
            self.forget_first();
        }
        true
    }

    fn forget_first(&mut self) {
        if let Some((_, packet)) = self.log.pop_front() {
            self.bytes -= size(&packet);
        }
    }
}

/// What a socket's offsets begin with: a client's next socket must not take them for its own.
fn tag(sid: &str) -> &str {
    sid.get(..8).unwrap_or(sid)
}

fn size(packet: &Packet) -> usize {
    let attached: usize = packet.attachments().iter().map(Vec::len).sum();
    match &packet.body {
        Body::Event { name, arguments, .. } => attached + name.len() + arguments.json.len(),
        _ => attached,
    }
}

/// Adds an offset as the last argument.
fn append(arguments: &mut Arguments, offset: &str) {
    let inner = arguments.json.trim_end().strip_suffix(']').unwrap_or("[").trim_end();
    let comma = if inner == "[" { "" } else { "," };
    arguments.json = format!("{inner}{comma}\"{offset}\"]");
}

/// What a client that comes back says in its CONNECT, beside who it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Resume {
    /// The private id that it was given.
    pid: String,
    /// The offset of the last event that it has; none if it has had none.
    offset: Option<String>,
}

impl Resume {
    /// Reads it from a CONNECT's payload. None if the client does not come back.
    #[must_use]
    pub fn of(auth: &str) -> Option<Self> {
        serde_json::from_str(auth).ok()
    }
}

/// The sockets that are away and may come back.
#[derive(Debug)]
pub struct Away {
    keeping: Keeping,
    sockets: BTreeMap<String, (Moment, Resumable)>,
    /// In the order in which they left; some may be back.
    order: VecDeque<(Moment, String)>,
}

impl Away {
    /// None.
    #[must_use]
    pub const fn new(keeping: Keeping) -> Self {
        Self { keeping, sockets: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Keeps a socket whose connection was lost.
    pub fn keep(&mut self, socket: Resumable, now: Now) {
        let until = now.moment + self.keeping.time;
        self.order.push_back((until, socket.pid.clone()));
        self.sockets.insert(socket.pid.clone(), (until, socket));
        while self.order.len() > self.keeping.sockets
            || self.order.front().is_some_and(|(until, _)| *until <= now.moment)
        {
            self.forget_first();
        }
    }

    /// Gives a socket back to its client, if it shows the right private id. None if it is not known any more, or not enough of what
    /// it missed; then it is forgotten.
    pub fn resume(&mut self, resume: &Resume, now: Now) -> Option<Resumable> {
        let (until, mut socket) = self.sockets.remove(&resume.pid)?;
        let is_known = now.moment < until && socket.caught_up_to(resume.offset.as_deref());
        is_known.then_some(socket)
    }

    fn forget_first(&mut self) {
        if let Some((until, pid)) = self.order.pop_front()
            && self.sockets.get(&pid).is_some_and(|(kept_until, _)| *kept_until == until)
        {
            self.sockets.remove(&pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEEPING: Keeping =
        Keeping { time: Duration::from_secs(120), sockets: 2, events: 3, bytes: 100 };

    fn at(seconds: u64) -> Now {
        Now { moment: Moment::from_micros(seconds * 1_000_000), unix_ms: 0 }
    }

    /// A socket with the private id `p` that was sent so many events.
    fn socket(pid: &str, events: usize) -> Resumable {
        let mut socket = Resumable::new("s".into(), pid.into(), KEEPING);
        for _ in 0..events {
            socket.record(&mut event("[]"));
        }
        socket
    }

    fn event(json: &str) -> Packet {
        let body = Body::Event { name: "e".into(), arguments: Arguments::of(json), ack: None };
        Packet { namespace: "/".into(), body }
    }

    fn resume(pid: &str, offset: Option<&str>) -> Resume {
        Resume { pid: pid.into(), offset: offset.map(str::to_owned) }
    }

    /// What a client gets that comes back with this offset; none if it begins anew.
    fn missed(events: usize, offset: Option<&str>) -> Option<Vec<String>> {
        let mut away = Away::new(KEEPING);
        away.keep(socket("p", events), at(0));
        let socket = away.resume(&resume("p", offset), at(1))?;
        Some(socket.missed().map(Packet::to_text).collect())
    }

    #[test]
    fn an_event_ends_with_its_offset() {
        let mut socket = socket("p", 9);
        for (json, text) in [
            ("[]", r#"2["e","s.9"]"#),
            ("[1]", r#"2["e",1,"s.10"]"#),
            ("[[]]", r#"2["e",[],"s.11"]"#),
            ("[ 1 ] ", r#"2["e",1,"s.12"]"#),
        ] {
            let mut packet = event(json);
            socket.record(&mut packet);
            assert_eq!(packet.to_text(), text);
        }
    }

    #[test]
    fn a_client_gets_what_it_missed_and_nothing_else() {
        let all = |range: std::ops::Range<u64>| {
            Some(range.map(|number| format!(r#"2["e","s.{number}"]"#)).collect::<Vec<_>>())
        };
        assert_eq!(missed(0, None), all(0..0));
        assert_eq!(missed(3, None), all(0..3));
        assert_eq!(missed(3, Some("s.0")), all(1..3));
        assert_eq!(missed(3, Some("s.2")), all(3..3));
        assert_eq!(missed(5, Some("s.1")), all(2..5));
    }

    /// The stock client keeps its last offset when it begins anew.
    #[test]
    fn an_offset_of_another_socket_says_that_nothing_came_from_this_one() {
        for offset in ["other.1", "2", "", "s", "s2.1"] {
            assert_eq!(missed(3, Some(offset)), missed(3, None), "{offset}");
            assert_eq!(missed(4, Some(offset)), None, "{offset}");
        }
    }

    #[test]
    fn a_client_that_missed_more_than_is_kept_begins_anew() {
        assert_eq!(missed(4, None), None);
        assert_eq!(missed(5, Some("s.0")), None);
    }

    #[test]
    fn an_offset_that_was_never_given_is_no_offset() {
        for number in ["3", "99", "18446744073709551615", "-1", "", "x", "99999999999999999999"] {
            assert_eq!(missed(3, Some(&format!("s.{number}"))), None, "{number}");
        }
    }

    #[test]
    fn a_socket_comes_back_once_and_not_too_late() {
        let mut away = Away::new(KEEPING);
        away.keep(socket("p", 0), at(0));
        assert_eq!(away.resume(&resume("other", None), at(1)), None);
        assert!(away.resume(&resume("p", None), at(119)).is_some());
        assert_eq!(away.resume(&resume("p", None), at(119)), None);
        away.keep(socket("p", 0), at(200));
        assert_eq!(away.resume(&resume("p", None), at(320)), None);
    }

    #[test]
    fn so_many_are_kept_and_the_oldest_are_forgotten_first() {
        let mut away = Away::new(KEEPING);
        for pid in ["a", "b", "c"] {
            away.keep(socket(pid, 0), at(0));
        }
        assert_eq!(away.resume(&resume("a", None), at(1)), None);
        assert!(away.resume(&resume("b", None), at(1)).is_some());
        away.keep(socket("b", 0), at(200));
        assert_eq!((away.sockets.len(), away.order.len()), (1, 1));
        for second in 201..300 {
            let back = away.resume(&resume("b", None), at(second)).unwrap();
            away.keep(back, at(second));
            assert!(away.order.len() <= 2);
        }
    }

    #[test]
    fn only_a_client_that_says_both_comes_back() {
        assert_eq!(
            Resume::of(r#"{"pid":"p","offset":"1","token":"x"}"#),
            Some(resume("p", Some("1")))
        );
        assert_eq!(Resume::of(r#"{"pid":"p"}"#), Some(resume("p", None)));
        for auth in ["{}", r#"{"offset":"1"}"#, r#"{"pid":1}"#, r#"{"pid":"p","offset":1}"#, "x"] {
            assert_eq!(Resume::of(auth), None, "{auth}");
        }
    }

    proptest! {
        #[test]
        fn a_log_never_holds_more_than_it_may(sizes in prop::collection::vec(0..60_usize, 0..40)) {
            let mut socket = socket("p", 0);
            for size in sizes {
                socket.record(&mut event(&format!("[\"{}\"]", "x".repeat(size))));
                let held: usize = socket.missed().map(super::size).sum();
                prop_assert!(socket.log.len() <= 3 && socket.bytes <= 100 && held == socket.bytes);
            }
        }
    }
}
