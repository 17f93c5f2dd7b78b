//! The bare stream: frames of the same size over one TCP connection, as they come. The other way it
//! carries, every few milliseconds, how many events have arrived by whatever way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::EVENT_BYTES;
use super::usage::{Ages, STAMP_BYTES, age_micros, stamp, uncounted};

/// How often the receiver says how many events it has.
const TELL_EVERY: Duration = Duration::from_millis(2);
/// Frames of one write when there is always something to write.
const FRAMES_PER_WRITE: u64 = 320;

/// Takes frames, and tells what has arrived in all.
pub(super) fn serve(
    address: SocketAddr,
    ages: &Ages,
    arrived: &Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)?;
    let (ages, arrived) = (ages.clone(), Arc::clone(arrived));
    let accept = move || -> anyhow::Result<()> {
        let (line, _) = listener.accept()?;
        line.set_nodelay(true)?;
        let (told, mut back) = (Arc::clone(&arrived), line.try_clone()?);
        uncounted(move || {
            while back.write_all(&told.load(Relaxed).to_le_bytes()).is_ok() {
                thread::sleep(TELL_EVERY);
            }
        })?;
        read(line, &ages, &arrived)
    };
    thread::spawn(move || drop(accept()));
    Ok(())
}

/// Frames are of one size, and nothing has to be looked for.
fn read(mut line: TcpStream, ages: &Ages, arrived: &AtomicU64) -> anyhow::Result<()> {
    let (mut buffer, mut kept) = (vec![0; 1 << 16], 0);
    loop {
        let count = line.read(&mut buffer[kept..])?;
        anyhow::ensure!(count > 0, "the owner is gone");
        let filled = kept + count;
        let frames = buffer[..filled].chunks_exact(EVENT_BYTES);
        let rest = filled - frames.remainder().len();
        arrived.fetch_add(frames.len() as u64, Relaxed);
        frames.filter_map(|frame| age_micros(&frame[..STAMP_BYTES])).for_each(|age| ages.add(age));
        buffer.copy_within(rest..filled, 0);
        kept = filled - rest;
    }
}

/// What the receiver says it has got.
pub(super) fn listen(mut line: TcpStream) -> anyhow::Result<Arc<AtomicU64>> {
    let delivered: Arc<AtomicU64> = Arc::default();
    let told = Arc::clone(&delivered);
    uncounted(move || {
        let mut bytes = [0; 8];
        while line.read_exact(&mut bytes).is_ok() {
            told.store(u64::from_le_bytes(bytes), Relaxed);
        }
    })?;
    Ok(delivered)
}

/// Writes frames, so many a second or as many as go, and returns how many.
pub(super) fn write(
    mut line: &TcpStream,
    rate: Option<u64>,
    duration: Duration,
) -> anyhow::Result<u64> {
    let tick = Duration::from_millis(1);
    let (began, mut due, mut events) = (Instant::now(), Duration::ZERO, 0);
    let (mut frames, mut frame) = (Vec::new(), String::new());
    while began.elapsed() < duration && due < duration {
        let count = rate.map_or(FRAMES_PER_WRITE, |rate| rate / 1_000);
        frames.clear();
        for _ in 0..count {
            frame.clear();
            stamp(&mut frame);
            frames.extend_from_slice(frame.as_bytes());
            frames.resize(frames.len() + EVENT_BYTES - frame.len(), b'.');
        }
        line.write_all(&frames)?;
        events += count;
        if rate.is_some() {
            due += tick;
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    Ok(events)
}
