//! How many ticks an indicator looks at. Owns the rule that every period keeps.

use core::fmt;

/// The longest period, in ticks. A window of it takes 80 kB a symbol, and `window` divides exactly up to here.
pub const MAX_PERIOD: u32 = 10_000;

/// A period outside 1 to [`MAX_PERIOD`], or above one that it must not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodError {
    /// The period that was asked for.
    pub period: u32,
    /// The longest that it can be.
    pub longest: u32,
}

impl PeriodError {
    /// That a period is above another that it must not exceed.
    pub(crate) fn above(period: u32, longest: u32) -> Self {
        Self { period, longest }
    }
}

impl fmt::Display for PeriodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period {
            0 => write!(f, "is 0; use 1 or more"),
            period => write!(f, "is {period}; use {} or less", self.longest),
        }
    }
}

impl core::error::Error for PeriodError {}

/// The period, if it keeps the rule.
pub(crate) fn check(period: u32) -> Result<u32, PeriodError> {
    if (1..=MAX_PERIOD).contains(&period) {
        Ok(period)
    } else {
        Err(PeriodError::above(period, MAX_PERIOD))
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
