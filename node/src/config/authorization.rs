//! `[apps.authorization]` and `[apps.laravel_echo]`: an app's own back end, which is asked about its
//! visitors.

use std::time::Duration;

use axum::http::HeaderName;
use proto::authorization::{Authorization, Backend};
use proto::origin::OriginPattern;
use serde::{Deserialize, Serialize};

use super::Period;
use crate::outgoing::guard::{Reach, check_url};

/// How long an answer may be waited for at most.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Seconds and answers of a cache at most.
const CACHE_SECONDS_MAX: u32 = 3_600;
const CACHE_ENTRIES_MAX: usize = 100_000;
/// Headers that are passed on at most.
const HEADERS_MAX: usize = 16;
/// Headers that are not about who somebody is, or that the request has already.
const OWN_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-requested-with",
];

/// Where an app is asked, and with what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationSection {
    /// `https` address.
    pub url: String,
    /// Whether the address may lie in a loopback or private range, and be `http`.
    #[serde(default)]
    pub allow_private_address: bool,
    /// How long an answer is waited for.
    #[serde(default = "timeout")]
    pub timeout: Period,
    /// Seconds for which an answer is remembered; 0 is not at all.
    #[serde(default = "cache_seconds")]
    pub cache_seconds: u32,
    /// Answers that are remembered at most.
    #[serde(default = "cache_entries")]
    pub cache_entries: usize,
    /// Headers of visitors that are passed on.
    #[serde(default = "headers")]
    pub headers: Vec<String>,
}

const fn timeout() -> Period {
    Period(Duration::from_secs(3))
}

const fn cache_seconds() -> u32 {
    10
}

const fn cache_entries() -> usize {
    1_000
}

fn headers() -> Vec<String> {
    vec!["cookie".into()]
}

/// Where an app is asked about subscriptions of Laravel Echo.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LaravelEchoSection {
    /// `https` address of the application's `/broadcasting/auth`.
    pub url: String,
    /// Whether the address may lie in a loopback or private range, and be `http`.
    #[serde(default)]
    pub allow_private_address: bool,
    /// How long an answer is waited for.
    #[serde(default = "timeout")]
    pub timeout: Period,
    /// Headers of clients that are passed on: those of Echo's option `auth`, or of its requests.
    #[serde(default = "echo_headers")]
    pub headers: Vec<String>,
}

fn echo_headers() -> Vec<String> {
    ["authorization", "cookie", "x-csrf-token", "x-xsrf-token"].map(Into::into).into()
}

impl LaravelEchoSection {
    /// Checks the section of an app that lets pages of these origins in.
    pub(super) fn check(&self, origins: &[OriginPattern]) -> Result<Backend, String> {
        let Self { url, allow_private_address, timeout, headers } = self;
        check_backend((url, *allow_private_address), *timeout, headers, origins)
            .map_err(|error| format!("laravel_echo: {error}"))
    }
}

impl AuthorizationSection {
    /// Checks the section of an app that lets pages of these origins in.
    pub(super) fn check(&self, origins: &[OriginPattern]) -> Result<Authorization, String> {
        self.check_all(origins).map_err(|error| format!("authorization: {error}"))
    }

    fn check_all(&self, origins: &[OriginPattern]) -> Result<Authorization, String> {
        let Self { url, allow_private_address, timeout, headers, .. } = self;
        let backend = check_backend((url, *allow_private_address), *timeout, headers, origins)?;
        if self.cache_seconds > CACHE_SECONDS_MAX {
            return Err(format!("`cache_seconds` must be at most {CACHE_SECONDS_MAX}"));
        }
        if !(1..=CACHE_ENTRIES_MAX).contains(&self.cache_entries) {
            return Err(format!("`cache_entries` must be from 1 to {CACHE_ENTRIES_MAX}"));
        }
        let (cache_seconds, cache_entries) = (self.cache_seconds, self.cache_entries);
        Ok(Authorization { backend, cache_seconds, cache_entries })
    }
}

fn check_backend(
    (url, allow_private_address): (&str, bool),
    timeout: Period,
    headers: &[String],
    origins: &[OriginPattern],
) -> Result<Backend, String> {
    let reach = Reach::allowing(allow_private_address);
    let uri = check_url(url, reach).map_err(|error| error.to_string())?;
    if uri.scheme_str() != Some("https") && reach == Reach::Global {
        return Err(format!("`{url}` must be https: cookies pass there"));
    }
    if origins.contains(&OriginPattern::any()) {
        return Err("list the pages that may connect in `origins`: with `*`, any page could connect with the cookies of its visitor".into());
    }
    let timeout = timeout.0;
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err("`timeout` must be more than 0s and at most 10s".into());
    }
    let (url, headers) = (url.to_owned(), check_headers(headers)?);
    Ok(Backend { url, allow_private_address, timeout, headers })
}

fn check_headers(headers: &[String]) -> Result<Vec<String>, String> {
    if !(1..=HEADERS_MAX).contains(&headers.len()) {
        return Err(format!("`headers` has 1 to {HEADERS_MAX} names, such as \"cookie\""));
    }
    let name = |text: &String| {
        let name = HeaderName::try_from(text.as_str())
            .map_err(|_| format!("`{text}` is not the name of a header"))?;
        let is_own = OWN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-pusher-");
        if is_own {
            return Err(format!("the header `{text}` cannot be passed on"));
        }
        Ok(name.as_str().to_owned())
    };
    let mut names = headers.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
