//! A signal as bytes: where it comes from, read from its first field. Both sides of the comparison are read by this, so
//! that nothing else is parsed where all is the same.

use memchr::memchr;
use serde_json::Value;

use crate::{log::Offset, signal::SCHEMA};

/// What stands before the id. In step with [`SCHEMA`]; a test says so.
const START: &[u8] = b"{\"schema\":1,\"id\":\"";

/// Where a strategy's signal comes from: its order in what the strategy put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) offset: Offset,
    pub(super) row: u32,
    pub(super) n: u32,
}

/// The id of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id<'a> {
    pub(super) strategy: &'a str,
    pub(super) partition: u32,
    pub(super) place: Place,
}

impl<'a> Id<'a> {
    /// Of bytes that begin as the engine writes them.
    pub(super) fn of(value: &'a [u8]) -> Option<Self> {
        let rest = value.strip_prefix(START)?;
        let id = &rest[..memchr(b'"', rest)?];
        Self::parse(std::str::from_utf8(id).ok()?)
    }

    /// `STRATEGY:PARTITION:OFFSET:ROW:N`, with plain numbers.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(':');
        let strategy = parts.next()?;
        let mut number = || {
            let part = parts.next()?;
            let is_plain = part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u64>().ok().filter(|_| is_plain)
        };
        let (partition, offset, row, n) = (number()?, number()?, number()?, number()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            strategy,
            partition: u32::try_from(partition).ok()?,
            place: Place {
                offset,
                row: u32::try_from(row).ok()?,
                n: u32::try_from(n).ok()?,
            },
        })
    }
}

/// What bytes are that do not begin so.
pub(super) enum Other {
    /// A signal of another schema, with strategy and place where it says them.
    Schema(u64, Option<(String, Place)>),
    /// A signal of ours in another form: strategy, partition and place.
    Form(String, u32, Place),
    /// None.
    Nothing,
}

impl Other {
    pub(super) fn of(value: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(value) else {
            return Self::Nothing;
        };
        let id = value["id"].as_str().and_then(Id::parse);
        match (value["schema"].as_u64(), id) {
            (Some(schema), id) if schema != u64::from(SCHEMA) => {
                Self::Schema(schema, id.map(|id| (id.strategy.to_owned(), id.place)))
            }
            (_, Some(id)) => Self::Form(id.strategy.to_owned(), id.partition, id.place),
            (_, None) => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_the_first_bytes_and_from_no_others() {
        let start = format!("{{\"schema\":{SCHEMA},\"id\":\"");
        assert_eq!(start.as_bytes(), START);
        let value = format!("{start}ma-20:3:170:2:1\",\"strategy\":\"ma-20\"");
        let place = Place {
            offset: 170,
            row: 2,
            n: 1,
        };
        let id = Id {
            strategy: "ma-20",
            partition: 3,
            place,
        };
        assert_eq!(Id::of(value.as_bytes()), Some(id));
        for wrong in ["ma:3:170:2", "ma:3:+170:2:1", "ma:3:1:2:1:5", "ma:3:x:2:1"] {
            let value = format!("{start}{wrong}\"");
            assert_eq!(Id::of(value.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_does_not_begin_so_is_told_apart() {
        let other = |text: &str| Other::of(text.as_bytes());
        assert!(matches!(
            other(r#"{"schema":2,"id":"a:0:1:0:0"}"#),
            Other::Schema(2, Some(_))
        ));
        assert!(matches!(other(r#"{"id":"a:0:1:0:0"}"#), Other::Form(s, 0, _) if s == "a"));
        assert!(matches!(other("{}"), Other::Nothing));
        assert!(matches!(other("no signal"), Other::Nothing));
    }
}
