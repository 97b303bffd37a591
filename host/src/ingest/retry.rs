//! How long to wait after a failure, and whether it is news.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// Failures in a row of one thing.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
}

impl Retry {
    /// Whether the last try failed: a further failure is no news.
    pub(super) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Notes a failure and says how long to wait: twice as long each time, up to a limit, and by chance up to half of it
    /// less, so that many who failed at once do not come back at once.
    pub(super) fn failed(&mut self) -> Duration {
        let longest = LONGEST.min(FIRST * 2_u32.pow(self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Notes that it works, and gives the failures before.
    pub(super) fn worked(&mut self) -> u32 {
        std::mem::take(&mut self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_a_limit_and_starts_again_once_it_works() {
        let mut retry = Retry::default();
        for longest_ms in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let wait = retry.failed().as_millis();
            assert!(
                (longest_ms / 2..=longest_ms).contains(&wait),
                "{wait} ms of {longest_ms}"
            );
        }
        assert_eq!((retry.worked(), retry.is_failing()), (9, false));
        assert!(retry.failed().as_millis() <= 100);
    }
}
