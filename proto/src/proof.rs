//! Which of what a connection was given it has had for certain: only the answer to a ping proves that
//! it has had everything before the ping.

/// Deliveries after which a connection is asked at once.
const DELIVERIES_MAX: u32 = 64;

/// Counts what a connection was given since the last mark, and numbers the marks.
#[derive(Debug, Default)]
pub struct Proof {
    unproven: u32,
    number: u32,
}

/// What to do after a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing more than before.
    Nothing,
    /// It is the first since the last mark: the session sees to it that there will be another.
    Soon,
    /// Mark it now.
    Now,
}

impl Proof {
    /// Something was given to the connection.
    pub const fn delivered(&mut self) -> Due {
        self.unproven += 1;
        match self.unproven {
            1 => Due::Soon,
            DELIVERIES_MAX => Due::Now,
            _ => Due::Nothing,
        }
    }

    /// The number of a ping that is sent now. They go round.
    pub const fn mark(&mut self) -> u32 {
        self.unproven = 0;
        self.number = self.number.wrapping_add(1);
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_delivery_is_marked_soon_and_many_at_once() {
        let mut proof = Proof::default();
        assert_eq!(proof.delivered(), Due::Soon);
        for _ in 2..DELIVERIES_MAX {
            assert_eq!(proof.delivered(), Due::Nothing);
        }
        assert_eq!(proof.delivered(), Due::Now);
        assert_eq!((proof.mark(), proof.mark()), (1, 2));
        assert_eq!(proof.delivered(), Due::Soon);
    }
}
