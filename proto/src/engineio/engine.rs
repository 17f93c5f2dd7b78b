//! One session, as a machine: which transport it is on, the heartbeat, and the change from polling
//! to a WebSocket.
//!
//! ```text
//!   polling ──WebSocket with its sid──► probing ──2probe──► probed ──5──► websocket
//!      ▲                                   │                  │
//!      └──── the new WebSocket is lost, misbehaves, or is not done in upgrade_timeout
//! ```
//!
//! What the server sends waits in the connection's outbox, which is bounded; here is decided when a
//! GET takes it along. A GET that only has to end is answered with a noop and takes nothing.

use std::time::Duration;

use serde::Serialize;

use crate::time::{Moment, Now};

use super::packet::{Malformed, Packet};
use super::payload::{PACKETS_MAX, PACKETS_MAX_UNTRUSTED, packets};
use super::refusal::Refusal;

/// What clients are told of time and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the opening, or a pong, to the next ping.
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping.
    pub ping_timeout: Duration,
    /// How long a client may take to change its transport.
    pub upgrade_timeout: Duration,
    /// Bytes of one body or one WebSocket message from a client.
    pub max_payload: usize,
}

/// As the JavaScript server.
impl Default for Timing {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_payload: 1_000_000,
        }
    }
}

/// The state of one session.
#[derive(Debug)]
pub struct Engine {
    timing: Timing,
    stage: Stage,
    beat: Beat,
    /// Whether a GET waits for an answer.
    is_polled: bool,
    /// Whether a POST's body is being read.
    is_posted: bool,
    /// Packets of one payload.
    packets_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Polling,
    Probing { until: Moment, is_probed: bool },
    WebSocket,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    /// When to ping.
    Ping(Moment),
    /// Until when the pong must come.
    Pong(Moment),
}

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A GET came and waits.
    Poll,
    /// The waiting GET was answered.
    Polled,
    /// A POST came; its body is being read.
    Post,
    /// Its body was read.
    Posted(&'a [u8]),
    /// A WebSocket with the session's id is open.
    Socket,
    /// A message came on that WebSocket before it was the session's transport.
    Probe(Frame<'a>),
    /// That WebSocket is lost.
    ProbeLost,
    /// A message came on the WebSocket that is the session's transport.
    Frame(Frame<'a>),
    /// The transport failed, or the client left a request before its answer.
    Lost,
    /// The deadline has come.
    Timer,
}

/// A message of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a packet, after all that waits.
    Send(Packet<'static>),
    /// Send a packet on the WebSocket that is not the transport yet.
    SendProbe(Packet<'static>),
    /// Give a message to the application.
    Deliver(Message),
    /// Answer the waiting GET with a noop, and with nothing of what waits.
    Release,
    /// The WebSocket is the transport from here on: what waits goes there.
    Switch,
    /// Close the WebSocket that was to become the transport.
    DropProbe,
    /// The session is over. A GET that still waits takes along what waits, and a close packet.
    End(Ended),
}

/// A message for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client said so.
    Client,
    /// The transport failed.
    Lost,
    /// No pong came in time.
    PingTimeout,
    /// The client had two requests of a kind at once.
    Overlap,
    /// What came was not the protocol.
    Malformed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Handshake<'a> {
    sid: &'a str,
    upgrades: &'a [&'a str],
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: usize,
}

impl Engine {
    /// A session that begins with a GET.
    #[must_use]
    pub fn polling(timing: Timing, now: Now) -> Self {
        Self::new(timing, Stage::Polling, now)
    }

    /// A session that begins with a WebSocket, and stays there.
    #[must_use]
    pub fn websocket(timing: Timing, now: Now) -> Self {
        Self::new(timing, Stage::WebSocket, now)
    }

    fn new(timing: Timing, stage: Stage, now: Now) -> Self {
        let beat = Beat::Ping(now.moment + timing.ping_interval);
        let packets_max = PACKETS_MAX_UNTRUSTED;
        Self { timing, stage, beat, is_polled: false, is_posted: false, packets_max }
    }

    /// The greeting, in text form: the first thing that a client is sent.
    ///
    /// # Panics
    /// Never: numbers and text can be JSON.
    #[must_use]
    pub fn greeting(&self, sid: &str) -> String {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let upgrades: &[_] = if self.stage == Stage::Polling { &["websocket"] } else { &[] };
        let handshake = Handshake {
            sid,
            upgrades,
            ping_interval: millis(self.timing.ping_interval),
            ping_timeout: millis(self.timing.ping_timeout),
            max_payload: self.timing.max_payload,
        };
        let json = serde_json::to_string(&handshake).expect("numbers and text can be JSON");
        Packet::Open(&json).to_text()
    }

    /// The application knows the client: its payloads may have many packets.
    pub const fn trust(&mut self) {
        self.packets_max = PACKETS_MAX;
    }

    /// When [`Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let (Beat::Ping(beat) | Beat::Pong(beat)) = self.beat;
        match self.stage {
            Stage::Probing { until, .. } => beat.min(until),
            _ => beat,
        }
    }

    /// Tells the session what happened. What it wants done is appended to `actions`, in order.
    ///
    /// # Errors
    /// The request or WebSocket that was reported is refused; the session may be over with it.
    pub fn apply(
        &mut self,
        input: Input<'_>,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        // A timer may be late; a client must not be saved by that.
        if matches!(self.beat, Beat::Pong(until) if until <= now.moment) {
            self.end(Ended::PingTimeout, actions);
        }
        if self.stage == Stage::Ended {
            return Err(Refusal::UnknownSession);
        }
        match input {
            Input::Poll => self.poll(actions),
            Input::Polled => {
                self.is_polled = false;
                Ok(())
            }
            Input::Post => self.post(actions),
            Input::Posted(body) => self.posted(body, now, actions),
            Input::Socket => self.socket(now),
            Input::Probe(frame) => {
                self.probe(frame, actions);
                Ok(())
            }
            Input::ProbeLost => {
                self.stay(actions);
                Ok(())
            }
            Input::Frame(frame) => self.frame(frame, now, actions),
            Input::Lost => {
                self.end(Ended::Lost, actions);
                Ok(())
            }
            Input::Timer => {
                self.timer(now, actions);
                Ok(())
            }
        }
    }

    fn poll(&mut self, actions: &mut Vec<Action>) -> Result<(), Refusal> {
        match self.stage {
            Stage::WebSocket | Stage::Ended => return Err(Refusal::BadRequest),
            Stage::Polling | Stage::Probing { .. } if self.is_polled => {
                self.end(Ended::Overlap, actions);
                return Err(Refusal::BadRequest);
            }
            Stage::Polling | Stage::Probing { is_probed: false, .. } => self.is_polled = true,
            Stage::Probing { is_probed: true, .. } => actions.push(Action::Release),
        }
        Ok(())
    }

    fn post(&mut self, actions: &mut Vec<Action>) -> Result<(), Refusal> {
        if self.stage == Stage::WebSocket {
            return Err(Refusal::BadRequest);
        }
        if self.is_posted {
            self.end(Ended::Overlap, actions);
            return Err(Refusal::BadRequest);
        }
        self.is_posted = true;
        Ok(())
    }

    fn posted(&mut self, body: &[u8], now: Now, actions: &mut Vec<Action>) -> Result<(), Refusal> {
        self.is_posted = false;
        let outcome = packets(body, self.packets_max).and_then(|packets| {
            packets.into_iter().try_for_each(|packet| self.receive(packet, now, actions))
        });
        self.judge(outcome, actions)
    }

    fn frame(
        &mut self,
        frame: Frame<'_>,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let packet = match frame {
            Frame::Text(text) => Packet::parse(text),
            Frame::Binary(bytes) => Ok(Packet::Binary(bytes.into())),
        };
        let outcome = packet.and_then(|packet| self.receive(packet, now, actions));
        self.judge(outcome, actions)
    }

    fn judge(
        &mut self,
        outcome: Result<(), Malformed>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        outcome.map_err(|Malformed| {
            self.end(Ended::Malformed, actions);
            Refusal::BadRequest
        })
    }

    /// Takes one packet. What follows the client's close is not looked at.
    fn receive(
        &mut self,
        packet: Packet<'_>,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<(), Malformed> {
        if self.stage == Stage::Ended {
            return Ok(());
        }
        match packet {
            Packet::Text(text) => actions.push(Action::Deliver(Message::Text(text.to_owned()))),
            Packet::Binary(bytes) => {
                actions.push(Action::Deliver(Message::Binary(bytes.into_owned())));
            }
            Packet::Pong("") => self.beat = Beat::Ping(now.moment + self.timing.ping_interval),
            Packet::Close => {
                self.release(actions);
                self.end(Ended::Client, actions);
            }
            Packet::Open(_)
            | Packet::Ping(_)
            | Packet::Pong(_)
            | Packet::Upgrade
            | Packet::Noop => {
                return Err(Malformed);
            }
        }
        Ok(())
    }

    fn socket(&mut self, now: Now) -> Result<(), Refusal> {
        if self.stage != Stage::Polling {
            return Err(Refusal::BadRequest);
        }
        let until = now.moment + self.timing.upgrade_timeout;
        self.stage = Stage::Probing { until, is_probed: false };
        Ok(())
    }

    fn probe(&mut self, frame: Frame<'_>, actions: &mut Vec<Action>) {
        match (&mut self.stage, frame) {
            (Stage::Probing { is_probed, .. }, Frame::Text("2probe")) => {
                *is_probed = true;
                actions.push(Action::SendProbe(Packet::Pong("probe")));
                self.release(actions);
            }
            (Stage::Probing { is_probed: true, .. }, Frame::Text("5")) => {
                self.release(actions);
                self.stage = Stage::WebSocket;
                actions.push(Action::Switch);
            }
            _ => self.stay(actions),
        }
    }

    /// Goes on without the WebSocket that was to become the transport.
    fn stay(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.stage, Stage::Probing { .. }) {
            self.stage = Stage::Polling;
            actions.push(Action::DropProbe);
        }
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.is_polled) {
            actions.push(Action::Release);
        }
    }

    fn timer(&mut self, now: Now, actions: &mut Vec<Action>) {
        if let Beat::Ping(due) = self.beat
            && due <= now.moment
        {
            actions.push(Action::Send(Packet::Ping("")));
            // Counted from when the ping was due; but if this server was held up, the client is not
            // to blame.
            let timeout = self.timing.ping_timeout;
            self.beat = Beat::Pong((due + timeout).max(now.moment + timeout / 2));
        }
        if matches!(self.stage, Stage::Probing { until, .. } if until <= now.moment) {
            self.stay(actions);
        }
    }

    fn end(&mut self, why: Ended, actions: &mut Vec<Action>) {
        if self.stage != Stage::Ended {
            self.stage = Stage::Ended;
            actions.push(Action::End(why));
        }
    }
}

#[cfg(test)]
mod tests;
