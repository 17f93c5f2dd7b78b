//! The Pusher HTTP API as data: signatures, bodies and queries, and the bodies of webhooks.

pub mod notification;
pub mod request;
pub mod signature;
pub mod webhook;
