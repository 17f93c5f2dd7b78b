//! A node that was stopped for a while begins anew, as another life of itself: the same process with
//! nothing in it. One to which that happens again and again stays out longer each time.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::clock::unix_ms;

/// How often, and when last: `count@milliseconds`, for the process that follows.
const VARIABLE: &str = "HANDBELL_REBORN";
/// After so long without it, it counts from the beginning.
const FORGOTTEN_AFTER_MS: u64 = 120_000;
/// The longest time to stay out.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Replaces this process by a new one of the same program and arguments. Returns only if it cannot.
#[must_use]
pub fn begin_anew() -> io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mark = format!("{}@{}", count() + 1, unix_ms());
    Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, mark).exec()
}

/// How long this life of the node stays out: nothing the first time, then 2, 4, 8 … 60 seconds.
#[must_use]
pub fn hold() -> Duration {
    hold_of(count())
}

fn hold_of(count: u32) -> Duration {
    match count {
        0 | 1 => Duration::ZERO,
        _ => Duration::from_secs(1 << (count - 1).min(6)).min(HOLD_MAX),
    }
}

fn count() -> u32 {
    parse(&env::var(VARIABLE).unwrap_or_default(), unix_ms())
}

fn parse(mark: &str, now_ms: u64) -> u32 {
    let parts = mark
        .split_once('@')
        .and_then(|(count, at)| Some((count.parse::<u32>().ok()?, at.parse::<u64>().ok()?)));
    match parts {
        Some((count, at)) if now_ms.saturating_sub(at) < FORGOTTEN_AFTER_MS => count,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_begins_anew_again_and_again_stays_out_longer() {
        let holds = [0, 1, 2, 3, 4, 7, 40].map(|count| hold_of(count).as_secs());
        assert_eq!(holds, [0, 0, 2, 4, 8, 60, 60]);
        assert_eq!(parse("3@1000", 2_000), 3);
        assert_eq!(parse("3@1000", 200_000), 0);
        assert_eq!(parse("", 1), 0);
    }
}
