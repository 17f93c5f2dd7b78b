//! The pages that may connect: the `Origin` header of browsers, matched against an app's list.

/// Allowed origins of an app: `*`, or `scheme://host[:port]` where the host may begin with `*.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(String);

/// A text that is not an origin pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an origin: write `*`, `https://example.com` or `https://*.example.com:8443`")]
pub struct OriginError(String);

impl OriginPattern {
    /// The pattern `*`.
    #[must_use]
    pub fn any() -> Self {
        Self("*".into())
    }

    /// Reads a pattern. Hosts compare without case, as in browsers.
    ///
    /// # Errors
    /// [`OriginError`] if it has no scheme, has a path, or a `*` that is not the first whole label.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let lower = text.to_ascii_lowercase();
        let is_origin = lower.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest.strip_prefix("*.").unwrap_or(rest);
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
            !scheme.is_empty() && !host.is_empty() && host.chars().all(plain)
        });
        if text == "*" || is_origin { Ok(Self(lower)) } else { Err(OriginError(text.to_owned())) }
    }

    /// The pattern as it was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a browser's `Origin` header matches: scheme, host and port, exactly.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        if self.0 == "*" {
            return true;
        }
        let origin = origin.to_ascii_lowercase();
        let Some((scheme, host)) = self.0.split_once("://*.") else {
            return self.0 == origin;
        };
        let Some((their_scheme, their_host)) = origin.split_once("://") else {
            return false;
        };
        let label = their_host.strip_suffix(host).and_then(|rest| rest.strip_suffix('.'));
        scheme == their_scheme
            && label.is_some_and(|label| !label.is_empty() && !label.contains('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, allowed: &[&str], refused: &[&str]) {
        let parsed = OriginPattern::parse(pattern).unwrap();
        for origin in allowed {
            assert!(parsed.allows(origin), "{pattern} should allow {origin}");
        }
        for origin in refused {
            assert!(!parsed.allows(origin), "{pattern} should refuse {origin}");
        }
    }

    #[test]
    fn scheme_host_and_port_match_exactly() {
        check(
            "https://good.com",
            &["https://good.com", "https://GOOD.com"],
            &[
                "http://good.com",
                "https://good.com:8443",
                "https://good.com.evil.com",
                "https://evilgood.com",
                "https://good.com.",
                "https://good.com/",
                "null",
                "",
            ],
        );
    }

    #[test]
    fn a_star_is_at_least_one_whole_label() {
        check(
            "https://*.good.com:8443",
            &["https://a.good.com:8443", "https://a.b.good.com:8443"],
            &[
                "https://good.com:8443",
                "https://evilgood.com:8443",
                "https://.good.com:8443",
                "https://a.good.com",
                "https://evil.com/.good.com:8443",
            ],
        );
    }

    #[test]
    fn what_is_no_origin_is_an_error() {
        for bad in ["", "good.com", "https://", "https://a/b", "https://a.*.com", "**"] {
            assert!(OriginPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
