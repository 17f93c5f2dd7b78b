//! What is counted of requests to the HTTP API, by the template of their route.

use metrics::{Counter, Histogram};

use super::Metrics;

/// A route of the HTTP API, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /apps/{id}/events`
    Events,
    /// `POST /apps/{id}/batch_events`
    BatchEvents,
    /// `GET /apps/{id}/channels`
    Channels,
    /// `GET /apps/{id}/channels/{channel}`
    Channel,
    /// `GET /apps/{id}/channels/{channel}/users`
    Users,
    /// `POST /users/{user}/terminate_connections`
    Terminate,
    /// Everything else.
    Other,
}

impl Route {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Events, "/apps/{id}/events"),
        (Self::BatchEvents, "/apps/{id}/batch_events"),
        (Self::Channels, "/apps/{id}/channels"),
        (Self::Channel, "/apps/{id}/channels/{channel}"),
        (Self::Users, "/apps/{id}/channels/{channel}/users"),
        (Self::Terminate, "/apps/{id}/users/{user}/terminate_connections"),
        (Self::Other, "other"),
    ];

    /// The route of a path; none if it is not one of the HTTP API.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        if !path.starts_with("/apps/") && !path.starts_with("/users/") {
            return None;
        }
        let mut parts = path.split('/').skip(1);
        let route = match (parts.nth(2), parts.next(), parts.next()) {
            (Some("events"), None, _) => Self::Events,
            (Some("batch_events"), None, _) => Self::BatchEvents,
            (Some("channels"), None, _) => Self::Channels,
            (Some("channels"), Some(_), None) => Self::Channel,
            (Some("channels"), Some(_), Some("users")) => Self::Users,
            _ if path.ends_with("/terminate_connections") => Self::Terminate,
            _ => Self::Other,
        };
        Some(route)
    }
}

/// Statuses that have a counter of their own; others are counted by their class.
const CODES: [(u16, &str); 9] = [
    (200, "200"),
    (202, "202"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (413, "413"),
    (429, "429"),
    (503, "503"),
];

/// The counters of the HTTP API, made once.
#[derive(Clone)]
pub struct HttpMetrics(Vec<RouteMetrics>);

#[derive(Clone)]
struct RouteMetrics {
    took: Histogram,
    codes: Vec<Counter>,
    other: Counter,
}

impl std::fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpMetrics")
    }
}

impl HttpMetrics {
    /// The counters of a node.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let of_route = |&(_, route): &(Route, &'static str)| {
            let counter = |code| {
                let labels = [("route", route), ("code", code)];
                metrics.counter("handbell_http_requests_total", &labels)
            };
            let name = "handbell_http_request_duration_seconds";
            RouteMetrics {
                took: metrics.histogram(name, &[("route", route)]),
                codes: CODES.iter().map(|(_, code)| counter(code)).collect(),
                other: counter("other"),
            }
        };
        Self(Route::ALL.iter().map(of_route).collect())
    }

    /// Counts a request and its time.
    pub fn count(&self, route: Route, code: u16, seconds: f64) {
        let metrics = &self.0[route as usize];
        metrics.took.record(seconds);
        match CODES.iter().position(|&(known, _)| known == code) {
            Some(index) => metrics.codes[index].increment(1),
            None => metrics.other.increment(1),
        }
    }
}
