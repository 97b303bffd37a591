//! Records of the market: the five kinds, their fields and rules. Reads and writes their JSON; knows nothing
//! of logs or HTTP. The clock is passed in.

use std::{borrow::Cow, fmt};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
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
    /// The rule's fixed name, such as `positive`, `finite`, `required`, `json`, `symbol`, `future`.
    pub rule: &'static str,
    /// Field, value and rule for a person.
    pub message: String,
}

impl Symbol {
    /// The longest symbol.
    pub const MAX_CHARS: usize = 16;

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
