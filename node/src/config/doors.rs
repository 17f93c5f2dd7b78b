//! `[fallback]`, `[socketio]`, `[ws]`, `[sse]` and `[poll]`: where the doors are that can be moved.

use std::time::Duration;

use proto::sse::Routes;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Period};

/// The doors that can be moved.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// The HTTP fallback of the Pusher door.
    pub fallback: FallbackSection,
    /// Socket.IO.
    pub socketio: SocketIoSection,
    /// The plain WebSocket.
    pub ws: WsSection,
    /// Event streams.
    pub sse: SseSection,
    /// The long poll, and publishing and presence beside it.
    pub poll: PollSection,
}

/// `[fallback]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FallbackSection {
    /// What paths begin with: `httpPath` of pusher-js.
    pub path: String,
}

/// `[socketio]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketIoSection {
    /// The path; clients ask for it with a `/` behind it.
    pub path: String,
}

/// `[ws]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WsSection {
    /// The path.
    pub path: String,
}

/// `[sse]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SseSection {
    /// What paths begin with.
    pub path: String,
    /// Silence after which a comment is sent.
    pub heartbeat: Period,
    /// Paths that stand for channels.
    pub routes: Routes,
}

/// `[poll]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PollSection {
    /// What paths begin with.
    pub path: String,
}

impl Default for FallbackSection {
    fn default() -> Self {
        Self { path: "/pusher".into() }
    }
}

impl Default for SocketIoSection {
    fn default() -> Self {
        Self { path: "/socket.io".into() }
    }
}

impl Default for WsSection {
    fn default() -> Self {
        Self { path: "/ws".into() }
    }
}

impl Default for SseSection {
    fn default() -> Self {
        let heartbeat = Period(Duration::from_secs(15));
        Self { path: "/sse".into(), heartbeat, routes: Routes::default() }
    }
}

impl Default for PollSection {
    fn default() -> Self {
        Self { path: "/api/realtime".into() }
    }
}

impl Doors {
    /// Checks that the paths are paths, and different ones.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let paths = [
            ("fallback", &self.fallback.path),
            ("socketio", &self.socketio.path),
            ("ws", &self.ws.path),
            ("sse", &self.sse.path),
            ("poll", &self.poll.path),
        ];
        for (section, path) in paths {
            let is_plain =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
            let is_path = path.len() > 1
                && path.starts_with('/')
                && !path.ends_with('/')
                && !path.contains("//")
                && path.chars().all(is_plain);
            let is_taken = ["/app", "/apps", "/users", "/up", "/ready", "/usage"]
                .iter()
                .any(|known| *known == path || path.starts_with(&format!("{known}/")));
            if !is_path || is_taken {
                return Err(ConfigError::rule(format!(
                    "{section}.path = \"{path}\": write a path of its own such as \"/{section}\""
                )));
            }
        }
        let overlap = |a: &str, b: &str| a == b || b.starts_with(&format!("{a}/"));
        for (one, a) in paths {
            if let Some((other, _)) = paths.iter().find(|(other, b)| *other != one && overlap(a, b))
            {
                return Err(ConfigError::rule(format!("{one}.path and {other}.path overlap")));
            }
        }
        if self.sse.heartbeat.0.is_zero() {
            return Err(ConfigError::rule("sse.heartbeat must be more than 0s"));
        }
        Ok(())
    }
}
