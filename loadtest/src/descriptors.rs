//! The limit of open descriptors: one for each connection, here and at the server.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a process has beside those of its connections: files, timers, a listener, publishers.
const OTHERS: u64 = 100;

/// Raises the limit of open descriptors as far as this process may; children inherit it.
pub fn raise() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    // What is not granted is missed by whoever needs it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

/// Whether there are enough for so many connections.
///
/// # Errors
/// If there are not, with what to do.
pub fn check(connections: u64) -> anyhow::Result<()> {
    // None is no limit.
    getrlimit(Resource::Nofile).current.map_or(Ok(()), |limit| suffices(limit, connections))
}

fn suffices(limit: u64, connections: u64) -> anyhow::Result<()> {
    let needed = connections + OTHERS;
    ensure!(
        needed <= limit,
        "{connections} connections need {needed} open descriptors, and a process may have {limit} here: \
         raise the hard limit (ulimit -Hn {needed} as root, or nofile in /etc/security/limits.conf), or \
         take fewer connections"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_noticed_before_the_start() {
        assert!(suffices(1_024, 924).is_ok());
        let error = suffices(1_024, 10_000).unwrap_err().to_string();
        assert!(error.starts_with("10000 connections need 10100 open descriptors"), "{error}");
        assert!(error.contains("may have 1024 here"), "{error}");
    }
}
