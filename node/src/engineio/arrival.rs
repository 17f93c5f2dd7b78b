//! Which session a request comes for, and how: read from its query in the order in which the JavaScript
//! server does it, because its codes depend on that.

use axum::http::header::UPGRADE;
use axum::http::{Method, Request};
use proto::engineio::Refusal;

/// A request that makes sense by itself.
pub(super) struct Arrival {
    /// The session; none if a new one is to begin.
    pub(super) sid: Option<String>,
    /// How it came.
    pub(super) transport: Transport,
}

/// A transport, as `transport=` names it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    WebSocket,
}

impl Arrival {
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let query = request.uri().query().unwrap_or_default();
        let get = |key: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == key).map(|(_, value)| value)
        };
        let transport = match get("transport").as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return Err(Refusal::UnknownTransport),
        };
        let sid = get("sid").filter(|sid| !sid.is_empty()).map(|sid| sid.into_owned());
        if sid.is_none() && request.method() != Method::GET {
            return Err(Refusal::BadHandshakeMethod);
        }
        // Others, such as `h2c`, are offers that may be passed over.
        let upgrade = request.headers().get(UPGRADE).map(|value| value.as_bytes());
        let is_upgrade = upgrade.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
        if is_upgrade != (transport == Transport::WebSocket) {
            return Err(Refusal::BadRequest);
        }
        if sid.is_none() && get("EIO").as_deref() != Some("4") {
            return Err(Refusal::UnsupportedVersion);
        }
        Ok(Self { sid, transport })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &str, query: &str, upgrade: bool) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(format!("/engine.io/?{query}"));
        if upgrade {
            request = request.header("upgrade", "websocket");
        }
        Arrival::of(&request.body(()).unwrap()).map(drop)
    }

    #[test]
    fn requests_are_refused_with_the_codes_of_the_javascript_server() {
        assert_eq!(code("GET", "EIO=4&transport=polling&t=abc", false), Ok(()));
        assert_eq!(code("GET", "EIO=4&transport=websocket", true), Ok(()));
        assert_eq!(code("POST", "EIO=4&transport=polling&sid=x", false), Ok(()));
        let h2c = Request::builder().uri("/?EIO=4&transport=polling").header("upgrade", "h2c");
        assert!(Arrival::of(&h2c.body(()).unwrap()).is_ok());
        for (method, query, upgrade, refusal) in [
            ("GET", "EIO=4", false, Refusal::UnknownTransport),
            ("GET", "EIO=4&transport=xyz", true, Refusal::UnknownTransport),
            ("GET", "EIO=4&transport=constructor", false, Refusal::UnknownTransport),
            ("POST", "EIO=4&transport=polling", false, Refusal::BadHandshakeMethod),
            ("PUT", "EIO=4&transport=polling", false, Refusal::BadHandshakeMethod),
            ("POST", "EIO=4&transport=polling&sid=", false, Refusal::BadHandshakeMethod),
            ("GET", "EIO=4&transport=websocket", false, Refusal::BadRequest),
            ("GET", "EIO=4&transport=websocket&sid=x", false, Refusal::BadRequest),
            ("GET", "EIO=4&transport=polling&sid=x", true, Refusal::BadRequest),
            ("GET", "transport=polling", false, Refusal::UnsupportedVersion),
            ("GET", "EIO=3&transport=polling", false, Refusal::UnsupportedVersion),
            ("GET", "EIO=abc&transport=websocket", true, Refusal::UnsupportedVersion),
        ] {
            assert_eq!(code(method, query, upgrade), Err(refusal), "{method} {query} {upgrade}");
        }
    }
}
