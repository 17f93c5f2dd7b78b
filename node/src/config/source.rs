//! Where the configuration comes from, so that it can be read again: a file, the environment, flags.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Table, Value};

use super::app::AppSection;
use super::{Config, ConfigError};

/// Names of the variables that hold one app's credentials, in three spellings.
const APP_VARIABLES: [[&str; 3]; 3] = [
    ["PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"],
    ["SOKETI_DEFAULT_APP_ID", "SOKETI_DEFAULT_APP_KEY", "SOKETI_DEFAULT_APP_SECRET"],
    ["REVERB_APP_ID", "REVERB_APP_KEY", "REVERB_APP_SECRET"],
];
const PREFIX: &str = "HANDBELL__";

/// A file, the environment as it was at the start, and what flags said.
#[derive(Clone, Default)]
pub struct Source {
    /// The TOML file, if one was named.
    pub path: Option<PathBuf>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Flags, as `section.key` and a TOML value.
    pub flags: Vec<(String, String)>,
}

/// Without the environment, which has secrets in it.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// A file and this process's environment.
    #[must_use]
    pub fn new(path: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { path, variables: std::env::vars_os().filter_map(text).collect(), flags }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut table = self.read_file()?;
        let mut config = Config::deserialize(table.clone())
            .map_err(|error| ConfigError::rule(error.message().to_owned()))?;
        for (name, value) in &self.variables {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            refuse_service_link(name, value)?;
            let path = key.to_lowercase().replace("__", ".");
            config = set(&mut table, &path, value)
                .map_err(|message| ConfigError::variable(name, &message))?;
        }
        for (path, value) in &self.flags {
            config = set(&mut table, path, value)
                .map_err(|message| ConfigError::rule(format!("{path}: {message}")))?;
        }
        self.add_app(&mut config)?;
        Ok(config)
    }

    fn read_file(&self) -> Result<Table, ConfigError> {
        let Some(path) = &self.path else {
            return Ok(Table::new());
        };
        let file = |source| ConfigError::File { path: path.clone(), source };
        let text = fs::read_to_string(path).map_err(file)?;
        // Read as a whole first: only then do errors know their line.
        toml::from_str::<Config>(&text).map_err(|error| ConfigError::line(path, &text, &error))?;
        text.parse().map_err(|error| ConfigError::line(path, &text, &error))
    }

    /// Adds or completes the app whose credentials stand in the environment.
    fn add_app(&self, config: &mut Config) -> Result<(), ConfigError> {
        for names in APP_VARIABLES {
            let values =
                names.map(|name| self.variables.get(name).filter(|value| !value.is_empty()));
            match values {
                [None, None, None] => {}
                [Some(id), Some(key), Some(secret)] => {
                    match config.apps.iter_mut().find(|app| &app.id == id) {
                        Some(app) => app.set_credentials(key, secret),
                        None => config.apps.push(AppSection::new(id, key, secret)),
                    }
                }
                _ => {
                    let missing = names.iter().zip(values).find(|(_, value)| value.is_none());
                    let name = missing.map_or("", |(name, _)| name);
                    let all = names.join(", ");
                    let message = format!("it is not set, but others of {all} are");
                    return Err(ConfigError::variable(name, &message));
                }
            }
        }
        Ok(())
    }
}

/// Kubernetes puts `tcp://10.0.0.1:80` into variables named after services.
fn refuse_service_link(name: &str, value: &str) -> Result<(), ConfigError> {
    if value.starts_with("tcp://") || value.starts_with("udp://") {
        let message = format!(
            "`{value}` looks like a Kubernetes service link; set `enableServiceLinks: false` in the pod, or rename the service"
        );
        return Err(ConfigError::variable(name, &message));
    }
    Ok(())
}

/// Sets one key and reads the whole again, so that an error belongs to this key.
fn set(table: &mut Table, path: &str, value: &str) -> Result<Config, String> {
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut section = &mut *table;
    for key in keys {
        let entry = section.entry(key).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else {
            return Err(format!("`{key}` is not a section"));
        };
        section = inner;
    }
    section.insert(last.to_owned(), parse(value));
    Config::deserialize(table.clone()).map_err(|error| error.message().to_owned())
}

/// Reads a TOML value; what is none is a text, so that texts need no quotes.
fn parse(value: &str) -> Value {
    let parsed = format!("value = {value}").parse::<Table>().ok();
    let value_of = |mut table: Table| table.remove("value");
    parsed.and_then(value_of).unwrap_or_else(|| Value::String(value.to_owned()))
}
