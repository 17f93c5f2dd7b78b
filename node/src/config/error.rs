//! What is wrong with a configuration, where, and how to mend it.

use std::io;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of the file is wrong.
    #[error("{path}:{line}: {message}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong and what would be right.
        message: String,
    },
    /// An environment variable is wrong.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// Which.
        name: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A rule over several keys is broken.
    #[error("{0}")]
    Rule(String),
}

impl ConfigError {
    pub(super) fn rule(message: impl Into<String>) -> Self {
        Self::Rule(message.into())
    }

    pub(super) fn line(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text[..start].matches('\n').count() + 1;
        Self::Line { path: path.to_owned(), line, message: explain(error.message()) }
    }

    pub(super) fn variable(name: &str, message: &str) -> Self {
        Self::Variable { name: name.to_owned(), message: explain(message) }
    }
}

/// Adds the nearest valid key to the message about an unknown one.
fn explain(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.to_owned();
    };
    let mut quoted = rest.split('`').step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    let nearest = known.iter().max_by(|a, b| {
        let near = |key: &str| strsim::jaro_winkler(unknown, key);
        near(a).total_cmp(&near(b))
    });
    match nearest {
        Some(nearest) => format!(
            "there is no key `{unknown}` here; did you mean `{nearest}`? (keys: {})",
            known.join(", ")
        ),
        None => format!("there is no key `{unknown}` here"),
    }
}
