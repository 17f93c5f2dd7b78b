//! What becomes of a frame that an outbox is given.

/// Why an outbox took no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The connection is closing or gone.
    Closed,
    /// This frame did not fit; the connection is being closed.
    Lagging,
    /// This frame did not fit and can be done without; the connection stays.
    Shed,
}

/// A frame was queued or sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The outbox was empty: [`Outbox::flush`](super::Outbox::flush) is due.
    pub is_first: bool,
    /// How many frames of low priority had to go for it.
    pub shed: usize,
}
