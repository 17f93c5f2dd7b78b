//! What a process has used, and how old an event is: both parts are on one machine and share its
//! clock.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// `@` and twenty digits.
pub(super) const STAMP_BYTES: usize = 21;
/// The name of threads whose work is the measurement's own.
const UNCOUNTED: &str = "uncounted";
/// What ages are rounded to.
const STEP_MICROS: u32 = 10;
/// Steps that are told apart: 1.3 s.
const STEPS: usize = 1 << 17;

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

/// How many events arrived, and at which age. Adding to it wakes nobody.
#[derive(Clone)]
pub(super) struct Ages(Arc<[AtomicU64]>);

impl Ages {
    pub(super) fn new() -> Self {
        Self((0..STEPS).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn add(&self, micros: u32) {
        let step = (micros / STEP_MICROS) as usize;
        self.0[step.min(STEPS - 1)].fetch_add(1, Relaxed);
    }

    /// Begins anew. How many there were, and the ages in µs below which so many of a hundred lie.
    pub(super) fn take<const N: usize>(&self, percents: [u64; N]) -> (u64, [u32; N]) {
        let counts: Vec<u64> = self.0.iter().map(|count| count.swap(0, Relaxed)).collect();
        let events: u64 = counts.iter().sum();
        let age = |percent: u64| {
            let mut left = (events * percent).div_ceil(100);
            let steps = counts.iter().take_while(|&&count| {
                let is_below = left > count;
                left = left.saturating_sub(count);
                is_below
            });
            u32::try_from(steps.count()).unwrap_or(u32::MAX) * STEP_MICROS
        };
        (events, percents.map(age))
    }
}
