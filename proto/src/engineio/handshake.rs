//! The handshake: what a client is told when its session begins.

use std::time::Duration;

use serde::Serialize;

use super::packet::Packet;

/// What clients are told of time and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the opening, or a pong, to the next ping.
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping.
    pub ping_timeout: Duration,
    /// How long a client may take to change its transport. They are not told.
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Handshake<'a> {
    sid: &'a str,
    upgrades: &'a [&'a str],
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: usize,
}

/// The open packet, in text form.
pub(super) fn greeting(timing: &Timing, sid: &str, upgrades: &[&str]) -> String {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let handshake = Handshake {
        sid,
        upgrades,
        ping_interval: millis(timing.ping_interval),
        ping_timeout: millis(timing.ping_timeout),
        max_payload: timing.max_payload,
    };
    let json = serde_json::to_string(&handshake).expect("numbers and text can be JSON");
    Packet::Open(&json).to_text()
}
