//! Socket.IO, protocol 5, over Engine.IO's messages.
//!
//! One connection carries a socket for each namespace that its client has connected to. Nothing here
//! knows channels or who may connect: the application is asked, and answers.
//!
//! Source: `docs/socket.io-protocol/v5-current.md` of socketio/socket.io, and where that is silent
//! `packages/socket.io-parser` and `packages/socket.io`.

mod arguments;
mod packet;
mod sockets;

pub use arguments::Arguments;
pub use packet::{ATTACHMENTS_MAX, Body, Malformed, Packet, RESERVED, Typed};
pub use sockets::{Action, Closed, Input, Socket, Sockets, Terms};
