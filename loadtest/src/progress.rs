//! How far the load test is: a bar on a terminal, plain lines elsewhere; always on standard error, so
//! that the report can be piped.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The bar, or none.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress over so many rounds.
    #[must_use]
    pub fn new(rounds: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {prefix}: {msg}");
        let bar = style.ok().filter(|_| stderr().is_terminal()).map(|style| {
            let bar = ProgressBar::new(rounds);
            bar.set_style(style);
            // A soak says nothing for hours; the clock shows that it goes on.
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        Self { bar }
    }

    /// A round begins.
    pub fn begin(&self, round: &str) {
        match &self.bar {
            Some(bar) => bar.set_prefix(round.to_owned()),
            None => eprintln!("{round}"),
        }
    }

    /// What it is doing, for a bar only.
    pub fn say(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// A round has ended, with this for its main figure.
    pub fn end(&self, figure: &str) {
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(figure.to_owned());
            }
            None => eprintln!("  {figure}"),
        }
    }

    /// The last round has ended.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
