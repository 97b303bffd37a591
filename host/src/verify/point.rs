//! A place in `ticks` as a person names it: an offset, or the time at which a message was appended.

use std::{fmt, str::FromStr};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::log::{Log, LogError, Offset, Topic};

/// An offset, or a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// Of each partition.
    Offset(Offset),
    /// The first message that was appended then or later.
    Time {
        /// Milliseconds since the epoch.
        ms: i64,
        /// As it was given.
        text: String,
    },
}

/// Text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use an offset such as 1200, a time such as 2026-01-31T09:00:00Z, or @SECONDS since the epoch"
)]
pub struct PointError;

impl Point {
    /// The offset of a partition that is meant.
    ///
    /// # Errors
    /// Where the log does not answer.
    pub(super) fn resolve(&self, log: &dyn Log, partition: u32) -> Result<Offset, LogError> {
        match self {
            Self::Offset(offset) => Ok(*offset),
            Self::Time { ms, .. } => log.offset_at(Topic::Ticks, partition, *ms),
        }
    }

    /// Whether it surely lies behind another.
    #[must_use]
    pub const fn is_after(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Offset(own), Self::Offset(other)) => *own > *other,
            (Self::Time { ms: own, .. }, Self::Time { ms: other, .. }) => *own > *other,
            _ => false,
        }
    }
}

impl FromStr for Point {
    type Err = PointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        let ms = match text.strip_prefix('@') {
            Some(seconds) => {
                let seconds: f64 = seconds.parse().map_err(|_| PointError)?;
                if !(0.0..1e12).contains(&seconds) {
                    return Err(PointError);
                }
                (seconds * 1000.0).floor() as i64
            }
            None => {
                let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| PointError)?;
                let ms = time.unix_timestamp_nanos().div_euclid(1_000_000);
                i64::try_from(ms).map_err(|_| PointError)?
            }
        };
        let text = text.to_owned();
        Ok(Self::Time { ms, text })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => offset.fmt(f),
            Self::Time { text, .. } => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_offset_and_never_a_time() {
        let time = |ms, text: &str| Point::Time {
            ms,
            text: text.to_owned(),
        };
        for (text, point) in [
            ("1700000000", Point::Offset(1_700_000_000)),
            ("@1700000000", time(1_700_000_000_000, "@1700000000")),
            ("@1700000000.25", time(1_700_000_000_250, "@1700000000.25")),
            (
                "2023-11-14T22:13:20Z",
                time(1_700_000_000_000, "2023-11-14T22:13:20Z"),
            ),
            (
                "2023-11-14T23:13:20.5+01:00",
                time(1_700_000_000_500, "2023-11-14T23:13:20.5+01:00"),
            ),
        ] {
            assert_eq!(text.parse(), Ok(point), "{text}");
        }
        for wrong in [
            "",
            "-1",
            "1.5",
            "@",
            "@-1",
            "@nan",
            "yesterday",
            "2023-11-14",
        ] {
            assert_eq!(wrong.parse::<Point>(), Err(PointError), "{wrong:?}");
        }
    }
}
