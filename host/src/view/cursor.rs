//! Where a reader of signals stands, as text that every replica understands: the place in the list, and the
//! positions in `signals` up to which it was streamed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::log::Offset;

/// The order of the list of signals, newest first: all fields descending, in the order in which they stand here. The tick's
/// place and the strategy's name make it total and the same on every replica.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Cursor {
    pub(super) timestamp: f64,
    pub(super) partition: u32,
    pub(super) offset: Offset,
    pub(super) row: u32,
    pub(super) strategy: String,
    pub(super) n: u32,
}

/// Text that is not a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cursor {0:?} is not one that this API gave out; start again without it")]
pub struct CursorError(String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        f.write_str(&hex::encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || CursorError(text.to_owned());
        let bytes = hex::decode(text).map_err(|_| wrong())?;
        match postcard::take_from_bytes::<Self>(&bytes) {
            Ok((cursor, [])) if cursor.timestamp.is_finite() => Ok(cursor),
            _ => Err(wrong()),
        }
    }
}

/// The next offset of each partition of `signals`, by partition. As text: the numbers joined by dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions(pub(super) Vec<Offset>);

/// Text that is not [`Positions`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionsError {
    /// Not numbers joined by dots.
    #[error(
        "event id {0:?} is not one that this API gave out; connect again without Last-Event-ID"
    )]
    Form(String),
    /// Of a log with another number of partitions.
    #[error(
        "event id {text:?} holds {found} positions where the log has {expected} partitions; connect again without Last-Event-ID"
    )]
    Count {
        /// As given.
        text: String,
        /// Numbers in it.
        found: usize,
        /// Partitions of `signals`.
        expected: usize,
    },
}

impl Positions {
    /// Reads the text for a log of so many partitions.
    ///
    /// # Errors
    /// Where it is not such text.
    pub fn parse(text: &str, partitions: u32) -> Result<Self, PositionsError> {
        let positions: Result<Vec<Offset>, _> = text
            .split('.')
            .map(|part| match part.as_bytes() {
                // `u64::from_str` also takes a sign.
                [b'0'..=b'9', ..] => part.parse().map_err(|_| ()),
                _ => Err(()),
            })
            .collect();
        let positions = positions.map_err(|()| PositionsError::Form(text.to_owned()))?;
        if positions.len() != partitions as usize {
            return Err(PositionsError::Count {
                text: text.to_owned(),
                found: positions.len(),
                expected: partitions as usize,
            });
        }
        Ok(Self(positions))
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, position) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            write!(f, "{position}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_written_and_nothing_else_is_read() {
        let cursor = Cursor {
            timestamp: 1_700_000_000.123_456_7,
            partition: 3,
            offset: u64::MAX,
            row: 2,
            strategy: "ma-20".into(),
            n: 1,
        };
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        for wrong in ["", "zz", "00", &text[2..], &format!("{text}00")] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn positions_are_read_back_as_written_and_nothing_else_is_read() {
        let positions = Positions(vec![0, 17, u64::MAX]);
        assert_eq!(Positions::parse(&positions.to_string(), 3), Ok(positions));
        for wrong in [
            "", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.-3", "1.2.+3", "1..3",
        ] {
            assert!(Positions::parse(wrong, 3).is_err(), "{wrong:?}");
        }
    }
}
