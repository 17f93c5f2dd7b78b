//! `handbell app create`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;

use crate::config::{AppSection, Source};
use crate::random;

use super::snippets;

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    /// Draw the id, key and secret of a new app, and print its TOML and client settings.
    Create {
        /// The app's id; drawn if it is not given. Digits work with every SDK.
        #[arg(long)]
        id: Option<String>,
        /// Host name for the printed client settings.
        #[arg(long, default_value = "127.0.0.1")]
        host: String,
        /// Port for the printed client settings.
        #[arg(long, default_value_t = 6001)]
        port: u16,
        /// Append the app to this configuration file. A running node takes it over by itself.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
    },
}

impl AppCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Create { id, host, port, write } = self;
        let drawn = || (random::bits() % 9_000_000 + 1_000_000).to_string();
        let id = id.unwrap_or_else(drawn);
        let (key, secret) = (random::hex(20), random::hex(32));
        let app = AppSection::new(&id, &key, &secret);
        let section = format!("[[apps]]\nid = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n");
        match write {
            None => print!("{section}\n{}", snippets::settings(&host, port, &app)),
            Some(path) => {
                append(&path, &section)?;
                println!("app `{id}` was added to {}\n", path.display());
                print!("{}", snippets::settings(&host, port, &app));
            }
        }
        Ok(())
    }
}

/// Appends to a configuration file, or leaves it as it was if the result would be wrong.
fn append(path: &Path, section: &str) -> anyhow::Result<()> {
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context(path.display().to_string()),
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.map_or_else(|| PathBuf::from("."), PathBuf::from);
    let name = path.file_name().context("the path has no file name")?.to_string_lossy();
    let draft = directory.join(format!(".{name}.{}", random::hex(8)));
    let separator = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let written = write_checked(&draft, &format!("{before}{separator}{section}"));
    let moved = written.and_then(|()| Ok(fs::rename(&draft, path)?));
    if moved.is_err() {
        // The draft is ours; the file has not been touched.
        let _ = fs::remove_file(&draft);
    }
    moved.with_context(|| format!("{} was not changed", path.display()))
}

fn write_checked(draft: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = fs::File::create_new(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let source = Source { path: Some(draft.to_owned()), ..Source::default() };
    source.load()?.check()?;
    Ok(())
}
