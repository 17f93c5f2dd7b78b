//! The configuration: defaults < TOML file < environment < flags. One format, every key documented,
//! checked once as a whole; an error names the key, the place and the fix.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use proto::app::Secret;
use proto::channel::History;
use serde::{Deserialize, Serialize};

use crate::tls::TlsFiles;

mod app;
mod authorization;
mod cluster;
mod doors;
mod error;
mod jwt_key;
mod period;
mod source;

pub use app::{AppSection, Preset};
pub use authorization::{AuthorizationSection, LaravelEchoSection};
pub use cluster::{ClusterSection, PartitionMode};
pub use doors::{Doors, FallbackSection, PollSection, SocketIoSection, SseSection, WsSection};
pub use error::ConfigError;
pub use jwt_key::JwtKeySection;
pub use period::Period;
pub use source::Source;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The client port.
    pub server: ServerSection,
    /// The admin port.
    pub admin: AdminSection,
    /// The other nodes; none for a single node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterSection>,
    /// What channels remember.
    pub history: History,
    /// How the node shuts down.
    pub drain: DrainSection,
    /// What is logged and how.
    pub log: LogSection,
    /// The HTTP fallback of the Pusher door.
    pub fallback: FallbackSection,
    /// The Socket.IO door.
    pub socketio: SocketIoSection,
    /// The plain WebSocket door.
    pub ws: WsSection,
    /// The door of event streams.
    pub sse: SseSection,
    /// The long poll, and publishing and presence beside it.
    pub poll: PollSection,
    /// The apps.
    pub apps: Vec<AppSection>,
}

/// `[server]`: clients and the HTTP API, one port.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// Address and port.
    pub listen: SocketAddr,
    /// The certificate, for TLS; taken over anew when its files change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Silence after which a client is pinged.
    pub activity_timeout: Period,
    /// How long it then has to answer.
    pub pong_timeout: Period,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 6001),
            tls: None,
            activity_timeout: Period(Duration::from_secs(120)),
            pong_timeout: Period(Duration::from_secs(30)),
        }
    }
}

/// `[admin]`: metrics and health.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Address and port.
    pub listen: SocketAddr,
    /// What others than this machine need to see the cluster or to drain the node; health and
    /// metrics are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl Default for AdminSection {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9601), token: None }
    }
}

/// `[drain]`: what happens on SIGTERM.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainSection {
    /// Not ready, still serving: time for load balancers to notice.
    pub delay: Period,
    /// Over which connections are closed.
    pub window: Period,
}

impl Default for DrainSection {
    fn default() -> Self {
        Self { delay: Period(Duration::from_secs(5)), window: Period(Duration::from_secs(20)) }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// A level, or directives such as `info,handbell::webhook=debug`.
    pub level: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The configuration of `handbell dev`: one app, loopback only, no waiting.
    #[must_use]
    pub fn dev(port: u16, admin_port: u16) -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let app = AppSection {
            // The Python SDK takes digits only.
            aliases: vec!["1".into()],
            ..AppSection::new("app-id", "app-key", "app-secret")
        };
        Self {
            server: ServerSection { listen: loopback(port), ..ServerSection::default() },
            admin: AdminSection { listen: loopback(admin_port), token: None },
            drain: DrainSection {
                delay: Period(Duration::ZERO),
                window: Period(Duration::from_millis(500)),
            },
            apps: vec![app],
            ..Self::default()
        }
    }

    /// Checks what the types cannot: that there is an app, that no two share an id or a key, and
    /// every rule of an app.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<Vec<proto::App>, ConfigError> {
        if self.apps.is_empty() {
            return Err(ConfigError::rule(
                "no app is configured: add an `[[apps]]` section (see `handbell app create`), or set PUSHER_APP_ID, PUSHER_APP_KEY and PUSHER_APP_SECRET",
            ));
        }
        if self.server.activity_timeout.0 < Duration::from_secs(1) {
            return Err(ConfigError::rule("server.activity_timeout must be at least 1s"));
        }
        if self.server.pong_timeout.0.is_zero() {
            return Err(ConfigError::rule("server.pong_timeout must be more than 0s"));
        }
        tracing_subscriber::EnvFilter::try_new(&self.log.level).map_err(|error| {
            ConfigError::rule(format!("log.level = \"{}\": {error}", self.log.level))
        })?;
        if let Some(cluster) = &self.cluster {
            cluster.check()?;
        }
        self.doors().check()?;
        app::check_all(&self.apps)
    }

    /// Where the doors are.
    #[must_use]
    pub fn doors(&self) -> Doors {
        Doors {
            fallback: self.fallback.clone(),
            socketio: self.socketio.clone(),
            ws: self.ws.clone(),
            sse: self.sse.clone(),
            poll: self.poll.clone(),
        }
    }

    /// The configuration as TOML, with every default in it and secrets as `***`.
    ///
    /// # Errors
    /// Never for a configuration that was read.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

#[cfg(test)]
mod tests;
