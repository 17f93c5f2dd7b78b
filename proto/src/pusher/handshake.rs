//! Whether a connection may begin: what is checked before it is greeted, in this order.

use crate::app::App;
use crate::door::Close;

use super::code::CloseCode;

/// What a client says when it connects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hello<'a> {
    /// The `protocol` parameter, if it sent one.
    pub protocol: Option<&'a str>,
    /// The `Origin` header, if it is a browser.
    pub origin: Option<&'a str>,
    /// Whether it came over TLS.
    pub is_tls: bool,
}

/// Checks a client's hello. An unknown app key is `None`: the connection is upgraded all the same
/// and closed with a code, because pusher-js would retry for ever after a failed upgrade.
///
/// # Errors
/// How to close the connection.
pub fn check<'a>(app: Option<&'a App>, hello: Hello<'_>) -> Result<&'a App, Close> {
    let Some(app) = app else {
        return Err(CloseCode::UnknownApp.because("no app has this key"));
    };
    if app.tls_only && !hello.is_tls {
        return Err(CloseCode::TlsOnly.because("this app only takes TLS connections"));
    }
    if !app.enabled {
        return Err(CloseCode::AppDisabled.because("this app is disabled"));
    }
    if !app.allows_origin(hello.origin) {
        return Err(CloseCode::Unauthorized.because("this page's origin is not allowed"));
    }
    // A client that names no version is one from before versions were named.
    if !matches!(hello.protocol, None | Some("5" | "6" | "7")) {
        return Err(CloseCode::UnsupportedProtocol.because("protocols 5, 6 and 7 are spoken here"));
    }
    Ok(app)
}
