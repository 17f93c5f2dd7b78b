//! The door of Server-Sent Events (WHATWG HTML, "Server-sent events"): an EventSource reads channels
//! and goes on where it was after a loss of its connection, because it sends the last `id` it saw.

pub mod frame;
mod route;
mod session;

pub use route::{RouteError, Routes};
pub use session::{Session, Timing, Wanted};
