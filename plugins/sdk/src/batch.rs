//! What a call carries, word for word as in `wit/plugin.wit`.

use crate::Side;

/// A symbol by its number, given out by the host; a name comes with [`Strategy::define_symbol`](crate::Strategy::define_symbol).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub u32);

/// Ticks in the order of their log, as parallel columns. `symbol` has one entry a row; the others too where the
/// strategy reads them, and may else be empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The symbol of each row.
    pub symbol: Vec<u32>,
    /// Seconds since the epoch.
    pub time: Vec<f64>,
    /// Opening prices.
    pub open: Vec<f64>,
    /// Highest prices.
    pub high: Vec<f64>,
    /// Lowest prices.
    pub low: Vec<f64>,
    /// Closing prices.
    pub close: Vec<f64>,
    /// Volumes.
    pub volume: Vec<f64>,
    /// What happened between the rows, in order.
    pub events: Vec<Event>,
    /// Rows, rising, whose values are wanted.
    pub wanted: Vec<u32>,
}

/// Something that is not a tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// It happened before this row of the batch; the number of rows where it came after the last.
    pub row: u32,
    /// None for an economic indicator.
    pub symbol: Option<Symbol>,
    /// Seconds since the epoch.
    pub time: f64,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    /// An order.
    OrderBook(OrderBook),
    /// The tone of the news.
    NewsSentiment(NewsSentiment),
    /// Fundamentals.
    MarketData(MarketData),
    /// A number of the economy.
    EconomicIndicator(EconomicIndicator),
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderBook {
    /// Whether it buys or sells.
    pub side: Side,
    /// Its price.
    pub price: f64,
    /// Its quantity.
    pub quantity: f64,
}

/// The tone of the news.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewsSentiment {
    /// -1 to 1.
    pub score: f64,
    /// 0 to 1.
    pub magnitude: f64,
}

/// Fundamentals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarketData {
    /// Market capitalisation.
    pub market_cap: f64,
    /// Price over earnings.
    pub pe_ratio: f64,
}

/// A number of the economy.
#[derive(Debug, Clone, PartialEq)]
pub struct EconomicIndicator {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
}
