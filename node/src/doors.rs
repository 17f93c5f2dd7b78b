//! The doors: Pusher's and its HTTP fallback, and those that take tokens: Socket.IO, a plain
//! WebSocket, event streams, and the long poll.

pub mod fallback;
pub mod head;
pub mod plain;
pub mod poll;
pub mod post;
pub mod pusher;
pub mod socketio;
pub mod sse;
pub mod visitors;
