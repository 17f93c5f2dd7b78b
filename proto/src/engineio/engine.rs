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

use crate::time::{Moment, Now};

use super::beat::Beat;
use super::handshake::{Timing, greeting};
use super::packet::{Malformed, Packet};
use super::payload::{PACKETS_MAX, PACKETS_MAX_UNTRUSTED, packets};
use super::refusal::Refusal;

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

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A GET came and waits.
    Poll,
    /// The waiting GET was answered.
    Polled,
    /// A GET that waits is to be answered with nothing.
    Release,
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
        let beat = Beat::heard(&timing, now);
        let packets_max = PACKETS_MAX_UNTRUSTED;
        Self { timing, stage, beat, is_polled: false, is_posted: false, packets_max }
    }

    /// The greeting, in text form: the first thing that a client is sent.
    #[must_use]
    pub fn greeting(&self, sid: &str) -> String {
        let upgrades: &[_] = if self.stage == Stage::Polling { &["websocket"] } else { &[] };
        greeting(&self.timing, sid, upgrades)
    }

    /// The application knows the client: its payloads may have many packets.
    pub const fn trust(&mut self) {
        self.packets_max = PACKETS_MAX;
    }

    /// When [`Input::Timer`] is to be applied next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        let beat = self.beat.deadline();
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
        if self.beat.is_over(now) {
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
            Input::Release => {
                self.release(actions);
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
            Packet::Pong("") => self.beat = Beat::heard(&self.timing, now),
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
        if self.beat.is_due(&self.timing, now) {
            actions.push(Action::Send(Packet::Ping("")));
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
