//! Records of the market: the five kinds, their fields and rules. Reads and writes their JSON; knows nothing
//! of logs or HTTP. The clock is passed in.

#[cfg(test)]
mod against_serde_json;
mod fields;
mod partition;
mod read;
mod scan;
mod write;

use std::{borrow::Cow, fmt};

pub use partition::partition_of;
pub use read::{Reading, read_line, read_record};
pub use write::MAX_LINE_BYTES;

/// What is traded: 1 to 16 characters from `A-Z 0-9 . - _`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Box<str>);

/// Open, high, low, close and volume of one symbol at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick<'a> {
    /// The symbol, already valid.
    pub symbol: Cow<'a, str>,
    /// Seconds since the epoch.
    pub time: f64,
    /// Price, finite and positive, as are the next three.
    pub open: f64,
    /// At least the open and the close.
    pub high: f64,
    /// At most the open and the close.
    pub low: f64,
    /// Price.
    pub close: f64,
    /// Finite, 0 or more.
    pub volume: f64,
}

/// Buy or sell. No opinion is no signal.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `"buy"` in JSON.
    Buy,
    /// `"sell"` in JSON.
    Sell,
}

/// One record of any kind, valid.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// `stock_price`, or no `data_type` at all.
    Tick(Tick<'a>),
    /// `order_book`.
    OrderBook {
        /// The symbol.
        symbol: Cow<'a, str>,
        /// Seconds since the epoch.
        time: f64,
        /// `order_type`.
        side: Side,
        /// Finite and positive.
        price: f64,
        /// Finite, 0 or more.
        quantity: f64,
    },
    /// `news_sentiment`.
    NewsSentiment {
        /// The symbol.
        symbol: Cow<'a, str>,
        /// Seconds since the epoch.
        time: f64,
        /// -1 to 1.
        score: f64,
        /// 0 to 1.
        magnitude: f64,
    },
    /// `market_data`.
    MarketData {
        /// The symbol.
        symbol: Cow<'a, str>,
        /// Seconds since the epoch.
        time: f64,
        /// Finite, 0 or more.
        market_cap: f64,
        /// Finite.
        pe_ratio: f64,
    },
    /// `economic_indicator`: belongs to no symbol.
    EconomicIndicator {
        /// 1 to 64 bytes, no control characters.
        name: Cow<'a, str>,
        /// Seconds since the epoch.
        time: f64,
        /// Finite.
        value: f64,
    },
}

/// Why a record is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{message}")]
pub struct Rejection {
    /// The field as the producer named it; empty where it is the whole record.
    pub field: String,
    /// The rule's fixed name: `json`, `object`, `required`, `type`, `duplicate`, `finite`, `positive`,
    /// `non_negative`, `range`, `symbol`, `low_high`, `future`, `data_type`, `name` or `too_large`.
    pub rule: &'static str,
    /// Field, value and rule for a person.
    pub message: String,
}

/// The kinds of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `stock_price`: a tick.
    StockPrice,
    /// `order_book`.
    OrderBook,
    /// `news_sentiment`.
    NewsSentiment,
    /// `market_data`.
    MarketData,
    /// `economic_indicator`.
    EconomicIndicator,
}

/// What depends on when a record is read, and not on the record alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The clock, seconds since the epoch.
    pub now: f64,
    /// How far ahead of the clock a record may be, seconds.
    pub max_future_skew: f64,
}

/// Why a text is not a symbol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "symbol {text:?} is not one; use 1 to {} characters from A-Z 0-9 . - _",
    Symbol::MAX_CHARS
)]
pub struct SymbolError {
    /// The text, cut where it is long.
    text: String,
}

impl Symbol {
    /// The longest symbol.
    pub const MAX_CHARS: usize = 16;

    /// The symbol that is written so.
    ///
    /// # Errors
    /// Where the text is empty, too long, or has other characters.
    pub fn parse(text: &str) -> Result<Self, SymbolError> {
        if symbol_is_valid(text.as_bytes()) {
            Ok(Self(text.into()))
        } else {
            Err(SymbolError {
                text: text.chars().take(2 * Self::MAX_CHARS).collect(),
            })
        }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is a symbol.
#[must_use]
pub fn symbol_is_valid(text: &[u8]) -> bool {
    (1..=Symbol::MAX_CHARS).contains(&text.len())
        && text
            .iter()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::StockPrice,
        Self::OrderBook,
        Self::NewsSentiment,
        Self::MarketData,
        Self::EconomicIndicator,
    ];

    /// Its name in `data_type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StockPrice => "stock_price",
            Self::OrderBook => "order_book",
            Self::NewsSentiment => "news_sentiment",
            Self::MarketData => "market_data",
            Self::EconomicIndicator => "economic_indicator",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Limits {
    /// For records that were validated when they came in: no clock.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            now: f64::INFINITY,
            max_future_skew: 0.0,
        }
    }

    /// Refuses what is too far in the future.
    ///
    /// # Errors
    /// Rule `future`.
    pub fn check(&self, time: f64) -> Result<(), Rejection> {
        if time <= self.now + self.max_future_skew {
            return Ok(());
        }
        Err(Rejection {
            field: "timestamp".into(),
            rule: "future",
            message: format!(
                "timestamp is {time}, {:.3} s ahead of the clock; use seconds since the epoch, at most {} s ahead",
                time - self.now,
                self.max_future_skew
            ),
        })
    }
}

impl Record<'_> {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Tick(_) => Kind::StockPrice,
            Self::OrderBook { .. } => Kind::OrderBook,
            Self::NewsSentiment { .. } => Kind::NewsSentiment,
            Self::MarketData { .. } => Kind::MarketData,
            Self::EconomicIndicator { .. } => Kind::EconomicIndicator,
        }
    }

    /// The symbol; none for an economic indicator.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Tick(Tick { symbol, .. })
            | Self::OrderBook { symbol, .. }
            | Self::NewsSentiment { symbol, .. }
            | Self::MarketData { symbol, .. } => Some(symbol),
            Self::EconomicIndicator { .. } => None,
        }
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn time(&self) -> f64 {
        match self {
            Self::Tick(Tick { time, .. })
            | Self::OrderBook { time, .. }
            | Self::NewsSentiment { time, .. }
            | Self::MarketData { time, .. }
            | Self::EconomicIndicator { time, .. } => *time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_1_to_16_of_its_characters() {
        for text in [
            "A",
            "AAPL",
            "BRK.B",
            "BTC-USD",
            "ES_F",
            "0700.HK",
            "ABCDEFGHIJKLMNOP",
        ] {
            assert_eq!(Symbol::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "aapl",
            "AAPL ",
            "A/B",
            "ÄPFEL",
            "A\0",
            "ABCDEFGHIJKLMNOPQ",
        ] {
            assert!(Symbol::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(
            Symbol::parse("aapl").unwrap_err().to_string(),
            "symbol \"aapl\" is not one; use 1 to 16 characters from A-Z 0-9 . - _"
        );
    }

    #[test]
    fn no_limits_let_any_finite_time_pass() {
        assert!(Limits::none().check(f64::MAX).is_ok());
        assert!(Limits::none().check(f64::MIN).is_ok());
    }

    #[test]
    fn a_record_may_be_as_far_ahead_as_allowed_and_no_further() {
        let limits = Limits {
            now: 100.0,
            max_future_skew: 10.0,
        };
        assert!(limits.check(110.0).is_ok());
        let refused = limits.check(110.5).unwrap_err();
        assert_eq!(
            (refused.field.as_str(), refused.rule),
            ("timestamp", "future")
        );
        assert_eq!(
            refused.message,
            "timestamp is 110.5, 10.500 s ahead of the clock; use seconds since the epoch, at most 10 s ahead"
        );
    }
}
