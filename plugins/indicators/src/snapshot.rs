//! State as bytes, exact to the bit. Little-endian, no lengths or names beyond what a check needs: the same type with
//! the same parameters reads what it wrote. Says nothing about versions; whoever stores the bytes knows what made them.

use alloc::vec::Vec;
use core::fmt;

/// State that is written to bytes and read back bit for bit.
pub trait Snapshot {
    /// Appends the state to `bytes`.
    fn snapshot(&self, bytes: &mut Vec<u8>);

    /// Puts back what `snapshot` gave into a value made with the same parameters, and moves `bytes` past it.
    ///
    /// # Errors
    ///
    /// Where the bytes end early or say what the type cannot be. The value is then of no use.
    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError>;
}

/// Why bytes are not a snapshot of the type that reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreError {
    /// The bytes end before the state does.
    Short {
        /// Bytes that the next part takes.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A part has a value that it cannot have.
    Value {
        /// The part.
        what: &'static str,
        /// Its value.
        is: i64,
        /// The lowest that it can be.
        min: i64,
        /// The highest that it can be.
        max: i64,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { needed, left } => write!(
                f,
                "the snapshot ends early: {needed} more bytes needed, {left} left"
            ),
            Self::Value { what, is, min, max } if min == max => {
                write!(f, "the snapshot says {what} {is}; here it must be {min}")
            }
            Self::Value { what, is, min, max } => {
                write!(
                    f,
                    "the snapshot says {what} {is}; here it must be {min} to {max}"
                )
            }
        }
    }
}

impl core::error::Error for RestoreError {}

/// The value, if it lies within `min` to `max`.
pub(crate) fn within<T: Copy + Into<i64>>(
    what: &'static str,
    is: T,
    min: T,
    max: T,
) -> Result<T, RestoreError> {
    let (value, min, max) = (is.into(), min.into(), max.into());
    if (min..=max).contains(&value) {
        Ok(is)
    } else {
        Err(RestoreError::Value {
            what,
            is: value,
            min,
            max,
        })
    }
}

/// Takes the next `N` bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], RestoreError> {
    let short = RestoreError::Short {
        needed: N,
        left: bytes.len(),
    };
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(short)?;
    *bytes = rest;
    Ok(*head)
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Snapshot for $number {
            fn snapshot(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
                *self = Self::from_le_bytes(take(bytes)?);
                Ok(())
            }
        }
    )*};
}

numbers!(u8, i8, u32, i32, u64, i64, f64);

impl Snapshot for () {
    fn snapshot(&self, _: &mut Vec<u8>) {}

    fn restore(&mut self, _: &mut &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

impl Snapshot for bool {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        let [byte] = take(bytes)?;
        *self = within("a yes-or-no of", byte, 0, 1)? == 1;
        Ok(())
    }
}

impl<T: Snapshot + Default> Snapshot for Option<T> {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        self.is_some().snapshot(bytes);
        if let Some(value) = self {
            value.snapshot(bytes);
        }
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        let mut some = false;
        some.restore(bytes)?;
        *self = None;
        if some {
            self.insert(T::default()).restore(bytes)?;
        }
        Ok(())
    }
}

/// A list of a length that its parameters fix.
impl<T: Snapshot> Snapshot for [T] {
    fn snapshot(&self, bytes: &mut Vec<u8>) {
        (self.len() as u32).snapshot(bytes);
        self.iter().for_each(|item| item.snapshot(bytes));
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<(), RestoreError> {
        let mut length = 0u32;
        length.restore(bytes)?;
        within(
            "a list of length",
            length,
            self.len() as u32,
            self.len() as u32,
        )?;
        self.iter_mut().try_for_each(|item| item.restore(bytes))
    }
}

/// Implements [`Snapshot`] for a struct, field by field in the order given.
///
/// ```
/// #[derive(Clone, Default)]
/// struct Last {
///     close: f64,
///     ticks: u32,
/// }
/// wigwag_indicators::snapshot!(Last { close, ticks });
/// ```
#[macro_export]
macro_rules! snapshot {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::Snapshot for $type {
            fn snapshot(&self, bytes: &mut $crate::private::Vec<u8>) {
                $($crate::Snapshot::snapshot(&self.$field, bytes);)+
            }

            fn restore(&mut self, bytes: &mut &[u8]) -> ::core::result::Result<(), $crate::RestoreError> {
                $($crate::Snapshot::restore(&mut self.$field, bytes)?;)+
                ::core::result::Result::Ok(())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Last {
        close: f64,
        ticks: Option<u32>,
        rising: bool,
    }
    snapshot!(Last {
        close,
        ticks,
        rising
    });

    fn bytes_of(value: &Last) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.snapshot(&mut bytes);
        bytes
    }

    #[test]
    fn fields_come_back_bit_for_bit() {
        for value in [
            Last {
                close: -0.0,
                ticks: None,
                rising: true,
            },
            Last {
                close: f64::from_bits(1),
                ticks: Some(u32::MAX),
                rising: false,
            },
        ] {
            let mut back = Last {
                close: 7.0,
                ticks: Some(3),
                rising: false,
            };
            let bytes = bytes_of(&value);
            let mut rest = bytes.as_slice();
            assert_eq!(back.restore(&mut rest), Ok(()));
            assert_eq!(bytes_of(&back), bytes);
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn bytes_that_end_early_or_lie_are_refused_with_the_reason() {
        let bytes = bytes_of(&Last {
            close: 1.0,
            ticks: Some(2),
            rising: true,
        });
        for cut in 0..bytes.len() {
            let error = Last::default().restore(&mut &bytes[..cut]).unwrap_err();
            assert!(matches!(error, RestoreError::Short { .. }), "{error}");
        }
        let mut lie = bytes.clone();
        lie[8] = 9;
        let error = Last::default().restore(&mut lie.as_slice()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the snapshot says a yes-or-no of 9; here it must be 0 to 1"
        );
        let error = [0.0f64; 3]
            .as_mut_slice()
            .restore(&mut [2, 0, 0, 0].as_slice())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the snapshot says a list of length 2; here it must be 3"
        );
    }
}
