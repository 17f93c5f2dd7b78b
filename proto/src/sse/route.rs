//! Paths that stand for channels: `jobs/{id}` for `job:{id}`.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Templates of paths, and of the channels that they stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    path: String,
    channel: String,
}

/// Why a route is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path is empty, or has an empty part.
    #[error("the path `{0}` has an empty part: write `jobs/{{id}}`")]
    Path(String),
    /// A name that is not in the path.
    #[error("the channel `{channel}` names `{{{name}}}`, which the path does not")]
    Unknown {
        /// The template.
        channel: String,
        /// The name.
        name: String,
    },
    /// Braces that do not belong together.
    #[error("`{0}` has braces that do not belong together")]
    Braces(String),
}

impl Route {
    fn new(path: &str, channel: &str) -> Result<Self, RouteError> {
        let path = path.trim_matches('/').to_owned();
        if path.split('/').any(str::is_empty) {
            return Err(RouteError::Path(path));
        }
        let known: Vec<&str> = path.split('/').filter_map(parameter).collect();
        let mut rest = channel;
        while let Some((_, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| RouteError::Braces(channel.to_owned()))?;
            if !known.contains(&name) {
                let (channel, name) = (channel.to_owned(), name.to_owned());
                return Err(RouteError::Unknown { channel, name });
            }
            rest = after;
        }
        Ok(Self { path, channel: channel.to_owned() })
    }

    fn channel(&self, path: &str) -> Option<String> {
        let mut channel = self.channel.clone();
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), given.next()) {
                (None, None) => return Some(channel),
                (Some(template), Some(part)) => match parameter(template) {
                    Some(_) if part.is_empty() => return None,
                    Some(_) => channel = channel.replace(template, &decoded(part)?),
                    None if template == part => {}
                    None => return None,
                },
                _ => return None,
            }
        }
    }
}

/// `{id}` names `id`.
fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

fn decoded(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

impl Routes {
    /// The channel that a path stands for: by the first route that fits, or by its own name.
    #[must_use]
    pub fn channel(&self, path: &str) -> Option<String> {
        let by_route = self.0.iter().find_map(|route| route.channel(path));
        by_route.or_else(|| if path.contains('/') { None } else { decoded(path) })
    }
}

impl Default for Routes {
    fn default() -> Self {
        let route =
            |path: &str, channel: &str| Route { path: path.into(), channel: channel.into() };
        Self(vec![route("jobs/{id}", "job:{id}"), route("projects/{id}", "project:{id}")])
    }
}

impl Serialize for Routes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|route| (&route.path, &route.channel)))
    }
}

impl<'de> Deserialize<'de> for Routes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let routes = BTreeMap::<String, String>::deserialize(deserializer)?;
        let routes: Result<Vec<Route>, RouteError> =
            routes.iter().map(|(path, channel)| Route::new(path, channel)).collect();
        routes.map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_channels() {
        let routes = Routes(vec![
            Route::new("jobs/{id}", "job:{id}").unwrap(),
            Route::new("/users/{user}/{kind}/", "user:{user}:{kind}").unwrap(),
            Route::new("status", "public:status").unwrap(),
        ]);
        let table = [
            ("jobs/123", Some("job:123")),
            ("jobs/a%3Ab", Some("job:a:b")),
            ("jobs/", None),
            ("jobs/1/2", None),
            ("users/7/news", Some("user:7:news")),
            ("status", Some("public:status")),
            ("room", Some("room")),
            ("public%3Achat", Some("public:chat")),
            ("a/b", None),
            ("%ff", None),
        ];
        for (path, channel) in table {
            assert_eq!(routes.channel(path).as_deref(), channel, "{path}");
        }
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for (path, channel) in [("", "a"), ("a//b", "a"), ("a/{id}", "b:{no}"), ("a/{id}", "b:{id")]
        {
            assert!(Route::new(path, channel).is_err(), "{path} {channel}");
        }
    }
}
