//! What a process has used: CPU time and memory, as the kernel counts them under `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Private memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Proportional set size: private pages, and the process's share of those it shares.
    pub pss: u64,
    /// Pages that only this process has, clean and dirty.
    pub private: u64,
}

/// CPU time, user and system, of all threads that are alive.
///
/// It comes from the scheduler's own account in nanoseconds: `utime` and `stime` in `/proc/PID/stat`
/// advance by 10 ms and split the same account. A running thread's account is up to a tick behind,
/// so this is read while the process waits for work. Threads that have ended are not counted.
///
/// # Errors
/// If the process is gone or belongs to someone else.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("process {pid} cannot be looked at"))?;
    let mut total = Duration::ZERO;
    for task in tasks {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            // It ended between the listing and the reading.
            continue;
        };
        total += Duration::from_nanos(on_cpu(&text).context("schedstat is not understood")?);
    }
    Ok(total)
}

/// Private memory.
///
/// # Errors
/// If the process is gone or belongs to someone else.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("the memory of process {pid} cannot be looked at"))?;
    let field = |name| kilobytes(&text, name).with_context(|| format!("smaps has no {name}"));
    Ok(Memory { pss: field("Pss:")?, private: field("Private_Clean:")? + field("Private_Dirty:")? })
}

/// Memory that is nobody else's and no file's, in bytes: what [`memory`] calls private without the pages
/// of the program itself, at a hundredth of its price, so that it can be read while something is measured.
///
/// # Errors
/// If the process is gone.
pub fn anonymous(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))
        .with_context(|| format!("the memory of process {pid} cannot be looked at"))?;
    let pages = anonymous_pages(&text).context("statm is not understood")?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// What is resident and not shared.
fn anonymous_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    resident.checked_sub(shared)
}

fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// A field of smaps, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        assert_eq!(on_cpu("584247 12 1\n"), Some(584_247));
        let smaps = "Rss:  1776 kB\nPss:   469 kB\nPss_Dirty:   96 kB\n";
        assert_eq!(kilobytes(smaps, "Pss:"), Some(469 * 1024));
        assert_eq!(kilobytes(smaps, "Private_Clean:"), None);
        assert_eq!(anonymous_pages("2101 512 200 15 0 130 0\n"), Some(312));
        assert_eq!(anonymous_pages("2101\n"), None);
    }

    #[test]
    fn a_process_can_look_at_itself() {
        let me = std::process::id();
        assert!(cpu(me).unwrap() > Duration::ZERO);
        let memory = memory(me).unwrap();
        assert!(memory.private > 0 && memory.private <= memory.pss);
        assert!(anonymous(me).unwrap() > 0);
    }
}
