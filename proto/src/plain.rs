//! The plain doors: a WebSocket with a token (`/ws`) whose messages are JSON objects, and the objects
//! that the long poll shows of the same channels. docs/doors says what they look like.

pub mod code;
pub mod frame;
mod session;

pub use session::Session;
