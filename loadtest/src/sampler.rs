//! Looks at the server's process while a round goes on, from a thread of its own: CPU and memory over
//! time. A fixed number of samples: when there are too many, every second one goes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use crate::process;
use crate::recording::ServerOverTime;

/// Samples at most; after a thinning, half of them.
const SAMPLES_MAX: usize = 200;
/// The first distance: the kernel's account is up to 4 ms behind, which is 4 % of it.
const EVERY: Duration = Duration::from_millis(100);

/// A thread that looks.
#[derive(Debug)]
pub struct Sampler {
    end: SyncSender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

/// What the process had used, in all, at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    at: Duration,
    cpu: Duration,
    memory_bytes: u64,
}

impl Sampler {
    /// Begins to look at a process.
    #[must_use]
    pub fn start(pid: u32, began: Instant) -> Self {
        let (end, ended) = sync_channel(1);
        let thread = spawn(move || look(pid, began, &ended));
        Self { end, thread }
    }

    /// Looks a last time.
    #[must_use]
    pub fn stop(self) -> ServerOverTime {
        // It fails if the thread has ended, and then there is nobody to tell.
        let _ = self.end.send(());
        over_time(&self.thread.join().unwrap_or_default())
    }
}

/// Until it is told to end, or until the process is gone.
fn look(pid: u32, began: Instant, ended: &Receiver<()>) -> Vec<Sample> {
    let (mut samples, mut every, mut is_over) = (Vec::new(), EVERY, false);
    loop {
        let (Ok(cpu), Ok(memory_bytes)) = (process::cpu(pid), process::anonymous(pid)) else {
            return samples;
        };
        samples.push(Sample { at: began.elapsed(), cpu, memory_bytes });
        if is_over {
            return samples;
        }
        if samples.len() >= SAMPLES_MAX {
            samples = samples.into_iter().step_by(2).collect();
            every *= 2;
        }
        is_over = ended.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
    }
}

/// Each sample, with the CPU since the one before.
#[allow(clippy::cast_precision_loss)]
fn over_time(samples: &[Sample]) -> ServerOverTime {
    let mut seen = ServerOverTime::default();
    let mut last: Option<&Sample> = None;
    for sample in samples {
        let percent = last.map(|last| {
            let time = sample.at.saturating_sub(last.at);
            let cpu = sample.cpu.saturating_sub(last.cpu);
            (time, 100.0 * cpu.as_secs_f64() / time.as_secs_f64())
        });
        // The last look may follow the one before at once, and would say anything.
        if percent.is_some_and(|(time, _)| time < EVERY / 4) {
            continue;
        }
        seen.at_s.push(sample.at.as_secs_f64());
        seen.cpu_percent.push(percent.map(|(_, percent)| percent));
        seen.memory_mib.push(sample.memory_bytes as f64 / 1_048_576.0);
        last = Some(sample);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_of_the_time_between_two_looks() {
        let ms = Duration::from_millis;
        let sample =
            |at, cpu, mib: u64| Sample { at: ms(at), cpu: ms(cpu), memory_bytes: mib * 1_048_576 };
        let seen = over_time(&[
            sample(0, 500, 3),
            sample(100, 550, 4),
            sample(300, 550, 8),
            sample(310, 560, 8),
        ]);
        assert_eq!(seen.at_s, [0.0, 0.1, 0.3]);
        assert_eq!(seen.memory_mib, [3.0, 4.0, 8.0]);
        assert_eq!(seen.cpu_percent, [None, Some(50.0), Some(0.0)]);
    }

    #[test]
    fn a_process_is_looked_at_until_the_end() {
        let sampler = Sampler::start(std::process::id(), Instant::now());
        std::thread::sleep(3 * EVERY);
        let seen = sampler.stop();
        assert!(!seen.at_s.is_empty() && seen.at_s.len() == seen.memory_mib.len());
        assert!(seen.memory_mib.iter().all(|mib| *mib > 0.0));
    }
}
