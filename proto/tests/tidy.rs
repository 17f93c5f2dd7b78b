//! The rules of this code base that a compiler does not know, as a test.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file: one idea each.
const LINES_MAX: usize = 400;

/// Words that may not stand in the code, and why.
const BANNED: &[(&str, &str)] = &[
    ("unbounded_channel", "every queue has a limit"),
    ("FIXME", "mend it"),
    ("dbg!(", "it is for working"),
    ("#[ignore", "a test that is not run says nothing"),
];

/// Parts of type names that say nothing.
const EMPTY_NAMES: &[&str] = &["Manager", "Service", "Handler", "Helper", "Util", "Base", "Impl"];

/// Files in which a lock may stand: everything else sends messages or owns its state.
const LOCKS: &[&str] = &[
    "node/src/authorization.rs",
    "node/src/channels.rs",
    "node/src/cluster/peers.rs",
    "node/src/outbox.rs",
    "node/src/places.rs",
    "node/src/quotas.rs",
    "node/src/quotas/users.rs",
    "node/src/relay/index.rs",
    "node/src/webhook.rs",
    "node/src/webhook/queue.rs",
];

/// Who may not know whom: a path prefix, and what its files may not import.
const IMPORTS: &[(&str, &[&str])] = &[
    (
        "proto/src/",
        &["tokio", "std::time::SystemTime", "tracing", "rand::", "std::net::Tcp", "std::net::Udp"],
    ),
    ("proto/src/channel", &["crate::pusher", "crate::door", "serde_json"]),
    ("proto/src/pusher", &["crate::cluster", "crate::http::request"]),
    ("proto/src/engineio", &["crate::pusher", "crate::door", "crate::channel", "crate::socketio"]),
    ("proto/src/socketio", &["crate::pusher", "crate::channel", "crate::engineio"]),
    ("proto/src/http", &["crate::pusher", "crate::cluster::link", "crate::cluster::ownership"]),
    ("proto/src/cluster", &["crate::pusher", "crate::http", "crate::door"]),
    ("node/src/outbox.rs", &["crate::session", "crate::relay", "crate::channel", "crate::router"]),
    ("node/src/channel.rs", &["crate::session", "crate::http"]),
    ("node/src/engineio", &["crate::session", "crate::relay", "crate::channel", "crate::router"]),
    ("node/src/relay", &["crate::session", "crate::http"]),
    ("node/src/router.rs", &["crate::session", "crate::http"]),
];

/// The five files of a publish, in order. README shows them.
const PUBLISH: &[&str] = &[
    "node/src/session.rs",
    "node/src/router.rs",
    "node/src/channel.rs",
    "proto/src/channel.rs",
    "node/src/relay.rs",
];

struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in
        ["proto/src", "proto/tests", "node/src", "node/tests", "node/examples", "loadtest/src"]
    {
        collect(&root().join(folder), &mut sources);
    }
    assert!(sources.len() > 50, "the walk found only {} files", sources.len());
    sources
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "sdk") {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            sources.push(Source { path, text });
        }
    }
}

#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

#[test]
fn every_file_says_what_it_is_about_and_is_not_too_long() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        if !text.starts_with("//!") {
            found.push(format!("{path}: begins without `//!`"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX && !is_test(&path) {
            found.push(format!("{path}: {lines} lines, the limit is {LINES_MAX}"));
        }
    }
    none(&found);
}

#[test]
fn banned_words_do_not_stand_in_the_code() {
    let mut found = Vec::new();
    for Source { path, text } in sources().iter().filter(|source| !source.path.ends_with("tidy.rs"))
    {
        for (word, reason) in BANNED {
            if text.contains(word) {
                found.push(format!("{path}: `{word}`: {reason}"));
            }
        }
    }
    none(&found);
}

#[test]
fn type_names_say_something() {
    let mut found = Vec::new();
    for Source { path, text } in sources() {
        for line in text.lines().map(str::trim_start) {
            let rest = line.trim_start_matches("pub ").trim_start_matches("pub(super) ");
            let named =
                ["struct ", "enum ", "trait "].iter().find_map(|word| rest.strip_prefix(word));
            let name = named.and_then(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
            if let Some(name) = name
                && EMPTY_NAMES.iter().any(|empty| name.ends_with(empty))
            {
                found.push(format!("{path}: `{name}` says nothing"));
            }
        }
    }
    none(&found);
}

#[test]
fn locks_stand_only_where_they_are_expected() {
    let mut found = Vec::new();
    for Source { path, text } in sources().iter().filter(|source| !is_test(&source.path)) {
        let has_lock = text.contains("Mutex<") || text.contains("RwLock<");
        if has_lock && !LOCKS.contains(&path.as_str()) {
            found.push(format!(
                "{path}: a lock; send a message or add it to the list with a reason"
            ));
        }
    }
    none(&found);
}

#[test]
fn nobody_imports_what_is_above_it() {
    let mut found = Vec::new();
    for Source { path, text } in sources().iter().filter(|source| !is_test(&source.path)) {
        for (_, banned) in IMPORTS.iter().filter(|(prefix, _)| path.starts_with(prefix)) {
            let imports = text.lines().filter(|line| line.trim_start().starts_with("use "));
            for line in imports.filter(|line| banned.iter().any(|word| line.contains(word))) {
                found.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    none(&found);
}

#[test]
fn the_five_files_of_a_publish_are_where_the_readme_says() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for path in PUBLISH {
        assert!(root().join(path).exists(), "{path} does not exist");
        assert!(readme.contains(path), "README.md does not name {path}");
    }
}
