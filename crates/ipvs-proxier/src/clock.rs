use std::time::{Duration, Instant, SystemTime};

/// A point in time, by two clocks: what people read may be set forth and back, what waiting is measured by may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For people.
    pub wall: SystemTime,
    /// For durations.
    pub steady: Instant,
}

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }

    /// So much later, by both clocks; never, if that is after the end of time.
    #[must_use]
    pub fn later(self, time: Duration) -> Option<Self> {
        Some(Self {
            wall: self.wall.checked_add(time)?,
            steady: self.steady.checked_add(time)?,
        })
    }
}

/// Tells the time. A program's is [`SystemClock`]; tests have one that they set.
pub trait Clock {
    /// The time now. It never goes back by the steady clock.
    fn now(&self) -> Moment;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::now()
    }
}

/// A clock that stands still at a time.
///
/// ```
/// use ipvs_proxier::{Clock as _, Moment};
/// let now = Moment::now();
/// assert_eq!(now.now(), now);
/// ```
impl Clock for Moment {
    fn now(&self) -> Moment {
        *self
    }
}
