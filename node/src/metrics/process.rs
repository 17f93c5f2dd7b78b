//! What the operating system says about this process.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// The process as Linux shows it in `/proc/self`. What cannot be read is zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: f64,
    pub(super) open_fds: f64,
    pub(super) max_fds: f64,
}

impl Process {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn read() -> Self {
        Self {
            cpu_seconds: cpu_seconds().unwrap_or_default(),
            resident_bytes: resident_bytes().unwrap_or_default(),
            open_fds: fs::read_dir("/proc/self/fd").map_or(0.0, |fds| fds.count() as f64),
            max_fds: getrlimit(Resource::Nofile).current.unwrap_or_default() as f64,
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    /// Linux reports process times in hundredths of a second on every machine (USER_HZ).
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses, which may contain spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Resident memory of the process and memory of the machine, in bytes.
pub(super) fn memory() -> (f64, f64) {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    (resident_bytes().unwrap_or_default(), total.unwrap_or_default() * 1024.0)
}
