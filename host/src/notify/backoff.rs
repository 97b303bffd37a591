//! When a failed delivery is tried again: a pure function of the attempts and of what the receiver asked for.

use std::time::Duration;

/// No wait is longer, whatever the attempt or the receiver's wish: once it is back, the rest follows within this time.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The schedule of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the first failure; each further one is twice as long.
    pub first: Duration,
    /// For how long after a signal's commit it is tried.
    pub retry_for: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            retry_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Schedule {
    /// How long to wait after so many failures. `chance` of 0 to 1 takes up to half of it away, so that many who failed
    /// together do not come back together. What the receiver asked for is the least.
    pub(super) fn wait(self, failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let longest = self.first.saturating_mul(doubled).min(LONGEST);
        let wait = longest.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0);
        wait.max(asked.unwrap_or_default()).min(LONGEST)
    }

    /// Milliseconds since the epoch until which a signal is tried that was committed at this time.
    pub(super) fn until_ms(self, committed_ms: i64) -> i64 {
        committed_ms.saturating_add(i64::try_from(self.retry_for.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The wait that `Retry-After` asks for: seconds, or a date as HTTP writes it. `now_s` is in seconds since the epoch.
pub(super) fn retry_after(value: &str, now_s: f64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let format = time::format_description::parse_borrowed::<2>(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT",
    )
    .ok()?;
    let date = time::PrimitiveDateTime::parse(value, &format).ok()?;
    let wait = date.assume_utc().unix_timestamp() as f64 - now_s;
    Some(Duration::try_from_secs_f64(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_a_limit_and_chance_takes_at_most_half() {
        let schedule = Schedule::default();
        for (failures, seconds) in [
            (1, 5),
            (2, 10),
            (3, 20),
            (4, 40),
            (8, 640),
            (9, 900),
            (4_000, 900),
        ] {
            let longest = seconds * SECOND;
            assert_eq!(schedule.wait(failures, None, 0.0), longest, "{failures}");
            assert_eq!(
                schedule.wait(failures, None, 1.0),
                longest / 2,
                "{failures}"
            );
        }
    }

    #[test]
    fn a_day_holds_about_a_hundred_attempts() {
        let schedule = Schedule::default();
        let mut passed = Duration::ZERO;
        let mut attempts = 1;
        loop {
            passed += schedule.wait(attempts, None, 0.0);
            if passed > schedule.retry_for {
                break;
            }
            attempts += 1;
        }
        assert!((95..=110).contains(&attempts), "{attempts}");
    }

    #[test]
    fn a_receivers_wish_is_the_least_and_has_a_limit() {
        let schedule = Schedule::default();
        assert_eq!(schedule.wait(1, Some(60 * SECOND), 0.5), 60 * SECOND);
        assert_eq!(schedule.wait(5, Some(SECOND), 0.0), 80 * SECOND);
        assert_eq!(schedule.wait(1, Some(Duration::MAX), 0.5), LONGEST);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let now_s = 1_445_412_420.0; // Wed, 21 Oct 2015 07:27:00 GMT
        assert_eq!(retry_after("120", now_s), Some(120 * SECOND));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now_s),
            Some(60 * SECOND)
        );
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:20:00 GMT", now_s),
            Some(Duration::ZERO)
        );
        for nonsense in ["", "soon", "-1", "1.5", "Wed, 99 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(nonsense, now_s), None, "{nonsense}");
        }
    }
}
