//! What a process has used, and how old an event is: both parts are on one machine and share its
//! clock.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// `@` and twenty digits.
pub(super) const STAMP_BYTES: usize = 21;
/// The name of threads whose work is the measurement's own.
const UNCOUNTED: &str = "uncounted";

/// CPU time of all threads but the uncounted ones, in µs, by the scheduler's own account.
pub(super) fn cpu_micros() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| -> Option<f64> {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        if name.trim() == UNCOUNTED {
            return None;
        }
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks.filter_map(of_task).sum::<f64>() / 1e3
}

/// Runs something on a thread whose CPU time is not counted.
pub(super) fn uncounted(run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(UNCOUNTED.into()).spawn(run).map(drop)
}

/// Writes the time.
pub(super) fn stamp(text: &mut String) {
    // Writing to a text cannot fail.
    let _ = write!(text, "@{:020}", unix_nanos());
}

/// How long ago a stamp was written, in µs.
pub(super) fn age_micros(stamp: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(stamp.get(1..)?).ok()?;
    let then: u64 = digits.parse().ok()?;
    u32::try_from(unix_nanos().saturating_sub(then) / 1_000).ok()
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The value below which so many of a hundred lie, of sorted values.
pub(super) fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}
