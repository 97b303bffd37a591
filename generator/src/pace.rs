//! When a record of a given time is to be sent. Reads the clock; does not know what is sent.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// How the time of the records follows the time of the world.
pub enum Pace {
    /// Not at all: each record is due at once.
    Unbounded,
    /// A record is due when the wall clock shows its time, so none is ever from the future.
    Wall {
        /// What the clock showed when it was last read.
        seen_us: i64,
    },
    /// The first record is due at once, each other one as long after it as their times say, divided by `speed`.
    Relative {
        /// Seconds of records' time in a second.
        speed: f64,
        /// When the first record was due, and its time.
        first: Option<(Instant, i64)>,
    },
}

impl Pace {
    /// A pace relative to the first record.
    pub fn relative(speed: f64) -> Self {
        Self::Relative { speed, first: None }
    }

    /// When a record of this time is due; none if it is due already.
    pub fn due(&mut self, time_us: i64) -> Option<Instant> {
        let (start, start_us, speed) = match self {
            Self::Unbounded => return None,
            Self::Wall { seen_us } => {
                // Late records need no look at the clock, which is a third of what making one costs.
                if time_us <= *seen_us {
                    return None;
                }
                *seen_us = clock::now_us();
                (Instant::now(), *seen_us, 1.0)
            }
            Self::Relative { speed, first } => {
                let (start, start_us) = *first.get_or_insert_with(|| (Instant::now(), time_us));
                (start, start_us, *speed)
            }
        };
        let due = start + ahead(time_us - start_us, speed);
        (due > Instant::now()).then_some(due)
    }
}

fn ahead(us: i64, speed: f64) -> Duration {
    // Records further ahead than a year, as a speed near zero makes them, are due in a year.
    const YEAR_S: f64 = 366.0 * 86_400.0;
    Duration::from_secs_f64((us.max(0) as f64 / 1e6 / speed).min(YEAR_S))
}
