//! The Socket.IO namespaces that an app has, and what each is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The namespace that every app has.
pub const MAIN: &str = "/";
/// Namespaces of one app: a connection may have a socket in each.
pub const NAMESPACES_MAX: usize = 16;
/// Bytes of a namespace's name.
const NAME_BYTES_MAX: usize = 64;

/// What a namespace's clients say and hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Channels as topics, for those who show a token.
    #[default]
    Topics,
    /// What the broadcaster `socket.io` of Laravel Echo says and hears.
    LaravelEcho,
}

/// The namespaces of an app.
///
/// Read from a configuration, those named there are beside `/`, or say what `/` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    profiles: BTreeMap<Arc<str>, Profile>,
    names: Arc<[Arc<str>]>,
}

/// Why a list of namespaces is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// A name breaks its rule.
    #[error("`{0}` is no namespace: write `/` and then A-Z a-z 0-9 _ - . /, 64 bytes at most")]
    Name(String),
    /// There are too many.
    #[error("an app has {NAMESPACES_MAX} namespaces at most, `/` included")]
    TooMany,
}

impl Namespaces {
    /// `/` and these.
    ///
    /// # Errors
    /// The rule that they break.
    pub fn new(more: BTreeMap<String, Profile>) -> Result<Self, NamespaceError> {
        let mut profiles = BTreeMap::from([(MAIN.into(), Profile::default())]);
        for (name, profile) in more {
            let is_plain =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
            let is_name = name.starts_with(MAIN) && name.chars().all(is_plain);
            if !is_name || name.len() > NAME_BYTES_MAX {
                return Err(NamespaceError::Name(name));
            }
            profiles.insert(name.into(), profile);
        }
        if profiles.len() > NAMESPACES_MAX {
            return Err(NamespaceError::TooMany);
        }
        let names = profiles.keys().cloned().collect();
        Ok(Self { profiles, names })
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.names)
    }

    /// What a namespace is, if there is one of that name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<Profile> {
        self.profiles.get(name).copied()
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::new(BTreeMap::new()).expect("none beside `/` are not too many")
    }
}

impl Serialize for Namespaces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.profiles.iter().map(|(name, profile)| (&**name, profile)))
    }
}

impl<'de> Deserialize<'de> for Namespaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(BTreeMap::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Namespaces, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_main_namespace_is_always_there() {
        let namespaces = read(r#"{"/admin":"topics","/a/b-c_d.e":"topics"}"#).unwrap();
        let names: Vec<String> = namespaces.names().iter().map(|name| name.to_string()).collect();
        assert_eq!(names, ["/", "/a/b-c_d.e", "/admin"]);
        assert_eq!(namespaces.profile("/admin"), Some(Profile::Topics));
        assert_eq!(namespaces.profile("/other"), None);
        let written = serde_json::to_string(&namespaces).unwrap();
        assert_eq!(read(&written), Ok(namespaces));
    }

    #[test]
    fn what_cannot_stand_in_a_packet_is_no_namespace() {
        for name in ["", "admin", "/a,b", "/a b", "/é", "/a?x=1", &format!("/{}", "x".repeat(64))]
        {
            let error = read(&format!(r#"{{"{name}":"topics"}}"#)).unwrap_err();
            assert!(error.contains("is no namespace"), "{name}: {error}");
        }
        let many: Vec<String> =
            (0..NAMESPACES_MAX).map(|n| format!(r#""/{n}":"topics""#)).collect();
        assert!(read(&format!("{{{}}}", many.join(","))).unwrap_err().contains("16 namespaces"));
        assert!(read(&format!("{{{}}}", many[1..].join(","))).is_ok());
        assert!(read(r#"{"/a":"rooms"}"#).is_err());
    }
}
