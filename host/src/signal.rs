//! A signal: an opinion of a strategy on a symbol, immutable, with everything needed to recompute it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{bars::Interval, log::Offset, market::Side};

/// The version of the JSON below.
pub const SCHEMA: u32 = 1;

/// One signal as it stands in `signals` and in the API. The order of the fields is the order of the JSON, and
/// the same signal always has the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Signal {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`SignalId`] as text.
    pub id: String,
    /// The strategy's id.
    pub strategy: String,
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component, lower-case hex.
    pub plugin_digest: String,
    /// SHA-256 of the canonical JSON of all parameters, lower-case hex.
    pub params_digest: String,
    /// What is traded.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// 0 to 1.
    pub strength: f64,
    /// The close of the tick that caused it, or of the bar.
    pub price: f64,
    /// Time of that tick, or of the one that closed the bar: when it could be known. Seconds since the epoch.
    pub timestamp: f64,
    /// The bar that caused it, where the strategy reads bars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar: Option<SignalBar>,
    /// One line for a person.
    pub reason: String,
    /// The strategy's values as at that tick; a series without a value is left out.
    #[schema(value_type = std::collections::BTreeMap<String, f64>)]
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Where the tick stands in `ticks`.
    pub partition: u32,
    /// Where the tick stands in `ticks`.
    pub offset: Offset,
    /// Which record of that message, counted from 0.
    pub row: u32,
    /// Which signal of that strategy at that tick, counted from 0.
    pub n: u32,
}

/// Which bar of its symbol caused a signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignalBar {
    /// How long it is.
    pub interval: Interval,
    /// Its start, seconds since the epoch.
    pub open_time: f64,
}

/// Identity of a signal: the same on every replay. As text `STRATEGY:PARTITION:OFFSET:ROW:N`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SignalId {
    /// The strategy's id, which holds no colon.
    pub strategy: String,
    /// Partition of `ticks`.
    pub partition: u32,
    /// Offset in `ticks`.
    pub offset: Offset,
    /// Record within the message.
    pub row: u32,
    /// Signal within the record.
    pub n: u32,
}

impl fmt::Display for SignalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            strategy,
            partition,
            offset,
            row,
            n,
        } = self;
        write!(f, "{strategy}:{partition}:{offset}:{row}:{n}")
    }
}

/// Text that is not a signal's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signal id {0:?} is not of the form strategy:partition:offset:row:n")]
pub struct SignalIdError(String);

impl FromStr for SignalId {
    type Err = SignalIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || SignalIdError(text.to_owned());
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or_else(wrong);
        let id = Self {
            strategy: next()?.to_owned(),
            partition: next()?.parse().map_err(|_| wrong())?,
            offset: next()?.parse().map_err(|_| wrong())?,
            row: next()?.parse().map_err(|_| wrong())?,
            n: next()?.parse().map_err(|_| wrong())?,
        };
        if id.strategy.is_empty() || parts.next().is_some() {
            return Err(wrong());
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_written_and_nothing_else_is_read() {
        let id = SignalId {
            strategy: "ma-20".into(),
            partition: 3,
            offset: 17,
            row: 2,
            n: 0,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in [
            "",
            "ma-20",
            "ma-20:3:17:2",
            "ma-20:3:17:2:0:1",
            ":3:17:2:0",
            "ma-20:x:17:2:0",
        ] {
            assert!(wrong.parse::<SignalId>().is_err(), "{wrong:?}");
        }
    }
}
