//! How many ticks an indicator looks at. Owns the rule that every period keeps.

use core::fmt;

/// The longest period, in ticks. A window of it takes 80 kB a symbol, and `window` divides exactly up to here.
pub const MAX_PERIOD: u32 = 10_000;

/// A period outside 1 to [`MAX_PERIOD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodError {
    /// The period that was asked for.
    pub period: u32,
}

impl fmt::Display for PeriodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = if self.period == 0 {
            "1 or more"
        } else {
            "10000 or less"
        };
        write!(f, "is {}; use {rule}", self.period)
    }
}

impl core::error::Error for PeriodError {}

/// The period, if it keeps the rule.
pub(crate) fn check(period: u32) -> Result<u32, PeriodError> {
    if (1..=MAX_PERIOD).contains(&period) {
        Ok(period)
    } else {
        Err(PeriodError { period })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_refused_period_is_named_with_its_rule() {
        assert_eq!(check(0).unwrap_err().to_string(), "is 0; use 1 or more");
        assert_eq!(check(MAX_PERIOD), Ok(MAX_PERIOD));
        assert_eq!(
            check(MAX_PERIOD + 1).unwrap_err().to_string(),
            "is 10001; use 10000 or less"
        );
    }
}
