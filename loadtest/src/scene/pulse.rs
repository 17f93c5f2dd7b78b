//! An open-loop schedule: what is due is due whether or not what came before has been done, so that a
//! server that stalls does not slow down the load by which it is measured.

use std::time::Duration;

use super::Scene;

/// A beat, so many times a second.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    from_ns: u64,
    rate: f64,
    beats: u64,
}

impl Pulse {
    /// Beats from a time on, the first of them at once.
    #[must_use]
    pub fn new(from_ns: u64, rate: u32) -> Self {
        Self { from_ns, rate: f64::from(rate), beats: 0 }
    }

    /// The number of the next beat and when it is due, if it is.
    pub fn due(&mut self, now_ns: u64) -> Option<(u64, u64)> {
        let (beat, at_ns) = (self.beats, self.next_ns());
        (at_ns <= now_ns).then(|| {
            self.beats += 1;
            (beat, at_ns)
        })
    }

    /// How long it is until the next beat.
    #[must_use]
    pub fn patience(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.next_ns().saturating_sub(now_ns))
    }

    /// Lets a scene go on, and does what is due at each beat, until it is over.
    ///
    /// # Errors
    /// If the server breaks the protocol, or if what is done or asked fails.
    pub fn drive<'a>(
        &mut self,
        scene: &mut Scene<'a>,
        mut beat: impl FnMut(&mut Scene<'a>, u64, u64) -> anyhow::Result<()>,
        mut is_over: impl FnMut(&mut Scene<'a>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        while !is_over(scene)? {
            while let Some((number, at_ns)) = self.due(scene.now_ns()) {
                beat(scene, number, at_ns)?;
            }
            let patience = self.patience(scene.now_ns());
            scene.turn(patience)?;
        }
        Ok(())
    }

    /// Beats so far.
    #[must_use]
    pub const fn beats(&self) -> u64 {
        self.beats
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn next_ns(&self) -> u64 {
        self.from_ns + (self.beats as f64 / self.rate * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_that_were_missed_are_still_due_when_they_were() {
        let mut pulse = Pulse::new(1_000, 1_000_000);
        assert_eq!(pulse.due(999), None);
        assert_eq!(pulse.due(1_000), Some((0, 1_000)));
        assert_eq!(pulse.due(1_000), None);
        assert_eq!(pulse.patience(1_400), Duration::from_nanos(600));
        assert_eq!([pulse.due(3_500), pulse.due(3_500)], [Some((1, 2_000)), Some((2, 3_000))]);
        assert_eq!((pulse.due(3_500), pulse.beats()), (None, 3));
    }
}
