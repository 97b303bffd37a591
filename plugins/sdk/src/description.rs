//! What a plugin says of itself, word for word as in `wit/plugin.wit`.

use crate::{Params, Strategy};

/// A column of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Seconds since the epoch.
    Time,
    /// The opening price.
    Open,
    /// The highest price.
    High,
    /// The lowest price.
    Low,
    /// The closing price.
    Close,
    /// The volume.
    Volume,
}

impl Column {
    /// Whether it is one of these, known when compiling.
    pub(crate) const fn is_in(self, columns: &[Self]) -> bool {
        let mut at = 0;
        while at < columns.len() {
            if columns[at] as u8 == self as u8 {
                return true;
            }
            at += 1;
        }
        false
    }
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// An order.
    OrderBook,
    /// The tone of the news.
    NewsSentiment,
    /// Fundamentals.
    MarketData,
    /// A number of the economy, of no symbol.
    EconomicIndicator,
}

/// Where a chart draws a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// With the price.
    OverPrice,
    /// In a pane of its own.
    OwnPane,
}

/// One output number a tick, with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// Where a chart draws it.
    pub placement: Placement,
}

impl Series {
    /// A series that is a price.
    pub const fn over_price(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            placement: Placement::OverPrice,
        }
    }

    /// A series with a scale of its own.
    pub const fn own_pane(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            placement: Placement::OwnPane,
        }
    }
}

/// What a parameter accepts, and what it is when it is not given.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamKind {
    /// A whole number, `min` to `max`, both included.
    Integer {
        /// What it is when it is not given.
        default: i64,
        /// The lowest.
        min: i64,
        /// The highest.
        max: i64,
    },
    /// A finite number, `min` to `max`, both included.
    Number {
        /// What it is when it is not given.
        default: f64,
        /// The lowest.
        min: f64,
        /// The highest.
        max: f64,
    },
    /// True or false.
    Boolean {
        /// What it is when it is not given.
        default: bool,
    },
    /// One of some words.
    Choice {
        /// What it is when it is not given: one of `options`.
        default: String,
        /// The words.
        options: Vec<String>,
    },
}

/// A parameter of the plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub help: String,
    /// What it accepts.
    pub kind: ParamKind,
}

/// What a plugin is.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The plugin's name.
    pub name: &'static str,
    /// Its semantic version.
    pub version: &'static str,
    /// One line.
    pub help: &'static str,
    /// Its parameters.
    pub params: Vec<Param>,
    /// The columns that it reads.
    pub columns: &'static [Column],
    /// The events that it reads.
    pub events: &'static [EventKind],
    /// The numbers that it gives.
    pub series: &'static [Series],
}

impl Description {
    /// That of a strategy.
    pub fn of<S: Strategy>() -> Self {
        Self {
            name: S::NAME,
            version: S::VERSION,
            help: S::HELP,
            params: S::Params::describe(),
            columns: S::COLUMNS,
            events: S::EVENTS,
            series: S::SERIES,
        }
    }
}
