//! Whether every subscriber got every event once and in order, exactly.
//!
//! A subscriber expects the next number of each of its streams. A gap is remembered number by number,
//! so that what comes late is told from what comes twice and from what never comes.
//!
//! Subscribers may come and go. Who has come must get whatever was published from then on, and may get
//! what was published while it came; who has gone is judged up to the last event that it got.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::mark::Mark;

/// What went wrong, in deliveries. All zero is what is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after a later event of its stream.
    pub reordered: u64,
    /// Came to a subscriber of another channel, or was never published.
    pub strayed: u64,
    /// Connections that the server closed.
    pub closed: u64,
    /// Connections that the server did not let in. Reports of schema 1 have none.
    #[serde(default)]
    pub refused: u64,
}

impl Faults {
    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            strayed: self.strayed + other.strayed,
            closed: self.closed + other.closed,
            refused: self.refused + other.refused,
        }
    }
}

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The first of its event, and not late.
    InOrder,
    /// The first of its event, after a later one.
    Late,
    /// One of those that should not have come: again, or to the wrong subscriber.
    Never,
}

/// How far a subscriber is in one of its streams.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The number that comes next, at the latest.
    next: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing may come.
    Away,
    /// An earlier number may come first.
    New,
    /// The next number has to come.
    Following,
}

/// Watches what all subscribers get.
#[derive(Debug)]
pub struct Checker {
    /// The first of each subscriber's streams.
    first: Vec<u32>,
    /// How many streams each subscriber has, one after the other.
    width: u32,
    /// How many events each stream has.
    lengths: Vec<u32>,
    /// What comes next, for each subscriber and stream.
    places: Vec<Place>,
    /// Numbers that were overtaken, with the place of their counter in `places`.
    missing: HashSet<(usize, u32)>,
    /// What subscribers lacked who have gone.
    lacked: Vec<Mark>,
    faults: Faults,
}

impl Checker {
    /// A checker for subscribers who get `width` streams each, from the one given for each of them,
    /// of streams that have so many events.
    #[must_use]
    pub fn new(first: Vec<u32>, width: u32, lengths: Vec<u32>) -> Self {
        let counters = first.len() * width as usize;
        Self {
            first,
            width,
            lengths,
            places: vec![Place { next: 0, state: State::Following }; counters],
            missing: HashSet::new(),
            lacked: Vec::new(),
            faults: Faults::default(),
        }
    }

    /// A checker for subscribers who are not there yet, of streams of which nothing was published.
    #[must_use]
    pub fn of_absent(first: Vec<u32>, width: u32, streams: usize) -> Self {
        let mut checker = Self::new(first, width, vec![0; streams]);
        checker.places.iter_mut().for_each(|place| place.state = State::Away);
        checker
    }

    /// An event is about to be published. Returns its number.
    pub fn publish(&mut self, stream: u32) -> u32 {
        let length = &mut self.lengths[stream as usize];
        *length += 1;
        *length - 1
    }

    /// A subscriber has come: it gets what is published from now on.
    pub fn join(&mut self, subscriber: usize) {
        let width = self.width as usize;
        for counter in subscriber * width..(subscriber + 1) * width {
            let next = self.lengths[self.stream(counter) as usize];
            self.places[counter] = Place { next, state: State::New };
        }
    }

    /// A subscriber has gone.
    pub fn leave(&mut self, subscriber: usize) {
        let width = self.width as usize;
        let counters = subscriber * width..(subscriber + 1) * width;
        for counter in counters.clone() {
            self.places[counter].state = State::Away;
        }
        let lacked: Vec<_> = self
            .missing
            .iter()
            .filter(|(counter, _)| counters.contains(counter))
            .copied()
            .collect();
        for missing in lacked {
            self.missing.remove(&missing);
            let (counter, number) = missing;
            self.lacked.push(Mark { stream: self.stream(counter), number });
        }
    }

    /// A subscriber is not to get a stream, because it is its own.
    pub fn excuse(&mut self, subscriber: usize, stream: u32) {
        let column = (stream - self.first[subscriber]) as usize;
        self.places[subscriber * self.width as usize + column].state = State::Away;
    }

    /// Deliveries that are still to come.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        let ahead: u64 = (0..self.places.len()).map(|counter| self.ahead(counter)).sum();
        ahead + self.missing.len() as u64
    }

    /// The same of one subscriber.
    #[must_use]
    pub fn owed(&self, subscriber: usize) -> u64 {
        let width = self.width as usize;
        let counters = subscriber * width..(subscriber + 1) * width;
        let missing = self.missing.iter().filter(|(counter, _)| counters.contains(counter)).count();
        counters.map(|counter| self.ahead(counter)).sum::<u64>() + missing as u64
    }

    /// What comes after all that has come at a place.
    fn ahead(&self, counter: usize) -> u64 {
        let place = self.places[counter];
        let length = self.lengths[self.stream(counter) as usize];
        match place.state {
            State::Away => 0,
            State::New | State::Following => length.saturating_sub(place.next).into(),
        }
    }

    /// The stream of a place.
    fn stream(&self, counter: usize) -> u32 {
        let width = self.width as usize;
        let column = u32::try_from(counter % width).expect("a width is one of 32 bits");
        self.first[counter / width] + column
    }

    /// Takes note of a delivery.
    pub fn take(&mut self, subscriber: usize, mark: Mark) -> Taken {
        let column = mark.stream.wrapping_sub(self.first[subscriber]);
        let length = self.lengths.get(mark.stream as usize);
        if column >= self.width || length.is_none_or(|&length| mark.number >= length) {
            self.faults.strayed += 1;
            return Taken::Never;
        }
        let counter = subscriber * self.width as usize + column as usize;
        let place = &mut self.places[counter];
        if place.state == State::Away {
            self.faults.strayed += 1;
            return Taken::Never;
        }
        if place.state == State::New || mark.number >= place.next {
            self.missing.extend((place.next..mark.number).map(|number| (counter, number)));
            *place = Place { next: mark.number + 1, state: State::Following };
            return Taken::InOrder;
        }
        if self.missing.remove(&(counter, mark.number)) {
            self.faults.reordered += 1;
            return Taken::Late;
        }
        self.faults.duplicated += 1;
        Taken::Never
    }

    /// Takes note of a connection that the server closed.
    pub const fn take_close(&mut self) {
        self.faults.closed += 1;
    }

    /// What went wrong, if nothing comes any more.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let mut lost = 0;
        self.each_lost(|_| lost += 1);
        Faults { lost, ..self.faults }
    }

    /// Goes through what never came anywhere, if nothing comes any more.
    pub fn each_lost(&self, mut report: impl FnMut(Mark)) {
        self.lacked.iter().copied().for_each(&mut report);
        for &(counter, number) in &self.missing {
            report(Mark { stream: self.stream(counter), number });
        }
        for (counter, place) in self.places.iter().enumerate() {
            let stream = self.stream(counter);
            if place.state != State::Away {
                let lost = place.next..self.lengths[stream as usize];
                lost.for_each(|number| report(Mark { stream, number }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
