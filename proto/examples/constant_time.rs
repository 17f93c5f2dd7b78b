//! Whether the time of a signature check tells where a wrong signature begins to be wrong: Welch's
//! t over two classes of inputs, in the manner of dudect. |t| below 4.5 is no evidence of a leak.
//! `cargo run --release -p handbell-proto --example constant_time -- 1000000`
#![allow(clippy::disallowed_methods)] // It measures time; nothing in the crate does.

use std::hint::black_box;
use std::time::Instant;

use proto::app::Secret;
use proto::http::signature::{is_signed, sign};

#[derive(Default)]
struct Class {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Class {
    /// Welford's running mean and variance.
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
    }

    fn variance(&self) -> f64 {
        self.squares / (self.count - 1.0)
    }
}

fn main() {
    let samples = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000_u32);
    let (secrets, text) = ([Secret::new("secret")], b"1.2:private-room");
    let good = sign("secret", text);
    let wrong_at = |at: usize| {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).expect("hexadecimal digits")
    };
    let inputs = [wrong_at(0), wrong_at(63)];
    let mut classes = [Class::default(), Class::default()];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut times: Vec<(usize, f64)> = Vec::new();
    for _ in 0..samples {
        // xorshift: which class comes next must not follow a pattern.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let class = usize::from(random & 1 == 1);
        let began = Instant::now();
        let accepted = is_signed(&secrets, text, black_box(&inputs[class]));
        let took = began.elapsed().as_secs_f64();
        assert!(!accepted);
        times.push((class, took));
    }
    // The slowest twentieth is interruptions, which say nothing about the code.
    let mut sorted: Vec<f64> = times.iter().map(|&(_, took)| took).collect();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted[sorted.len() * 19 / 20];
    for (class, took) in times.into_iter().filter(|&(_, took)| took <= cut) {
        classes[class].add(took * 1e9);
    }
    let [first, last] = &classes;
    let error = (first.variance() / first.count + last.variance() / last.count).sqrt();
    let t = (first.mean - last.mean) / error;
    println!("wrong at the first digit: {:.1} ns, at the last: {:.1} ns", first.mean, last.mean);
    println!(
        "t = {t:.2} over {samples} samples ({})",
        if t.abs() < 4.5 { "no leak seen" } else { "LEAK" }
    );
    if t.abs() >= 4.5 {
        std::process::exit(1);
    }
}
