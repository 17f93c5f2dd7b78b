//! Engine.IO, protocol 4: sessions of messages over HTTP long polling, WebSocket, or the first and
//! then the second. Socket.IO lies on it.
//!
//! Source: `docs/engine.io-protocol/v4-current.md` of socketio/socket.io, and where that is silent
//! the JavaScript server `packages/engine.io`.

mod beat;
mod engine;
mod handshake;
mod packet;
mod payload;
mod refusal;

pub use engine::{Action, Ended, Engine, Frame, Input, Message};
pub use handshake::Timing;
pub use packet::{Malformed, Packet};
pub use payload::{
    PACKETS_MAX, PACKETS_MAX_UNTRUSTED, PACKETS_PER_ANSWER, SEPARATOR, from_frames, packets,
    to_frames,
};
pub use refusal::Refusal;
