//! Why a request is refused: the codes and texts of the JavaScript server, which clients show.

use serde::{Deserialize, Serialize};

/// What is wrong with a request. Answered with HTTP 400 and [`Refusal::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Refusal {
    /// The `transport` is neither `polling` nor `websocket`.
    UnknownTransport,
    /// The session does not exist, or no longer.
    UnknownSession,
    /// A session begins with GET.
    BadHandshakeMethod,
    /// The session cannot take this request.
    BadRequest,
    /// The server does not want this client.
    Forbidden,
    /// `EIO` is not 4.
    UnsupportedVersion,
}

impl Refusal {
    /// The code and the text, as JSON.
    #[must_use]
    pub const fn body(self) -> &'static str {
        match self {
            Self::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::UnknownSession => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            Self::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Self::UnsupportedVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
        }
    }
}
