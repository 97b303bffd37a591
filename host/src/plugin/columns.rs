//! Ticks as columns, the form in which a plugin gets them, for whoever has all of them at hand: a trial, a measurement.

use std::ops::Range;

use super::bindings::{Batch, Columns, Event};
use crate::market::Tick;

/// Ticks of some symbols in one order. A symbol's number is its place among the names.
#[derive(Clone, Debug, Default)]
pub struct TickColumns {
    pub(super) names: Vec<String>,
    pub(super) symbol: Vec<u32>,
    pub(super) time: Vec<f64>,
    pub(super) open: Vec<f64>,
    pub(super) high: Vec<f64>,
    pub(super) low: Vec<f64>,
    pub(super) close: Vec<f64>,
    pub(super) volume: Vec<f64>,
}

impl TickColumns {
    /// Adds a tick.
    pub fn push(&mut self, tick: &Tick<'_>) {
        let number = self.number_of(&tick.symbol).unwrap_or_else(|| {
            self.names.push(tick.symbol.to_string());
            self.names.len() as u32 - 1
        });
        self.symbol.push(number);
        self.time.push(tick.time);
        self.open.push(tick.open);
        self.high.push(tick.high);
        self.low.push(tick.low);
        self.close.push(tick.close);
        self.volume.push(tick.volume);
    }

    pub(super) fn number_of(&self, symbol: &str) -> Option<u32> {
        let place = self.names.iter().position(|name| name == symbol)?;
        Some(place as u32)
    }

    /// The symbols' names, by number.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// How many ticks there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.symbol.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.symbol.is_empty()
    }

    /// A tick again.
    pub(super) fn tick(&self, row: usize) -> Tick<'_> {
        Tick {
            symbol: (&*self.names[self.symbol[row] as usize]).into(),
            time: self.time[row],
            open: self.open[row],
            high: self.high[row],
            low: self.low[row],
            close: self.close[row],
            volume: self.volume[row],
        }
    }

    /// Some rows as a plugin gets them that reads these columns.
    #[must_use]
    pub fn batch<'a>(
        &'a self,
        rows: Range<usize>,
        read: Columns,
        events: &'a [Event<'a>],
        wanted: &'a [u32],
    ) -> Batch<'a> {
        let column = |flag, column: &'a [f64]| match read.contains(flag) {
            true => &column[rows.clone()],
            false => &[],
        };
        Batch {
            symbol: &self.symbol[rows.clone()],
            time: column(Columns::TIME, &self.time),
            open: column(Columns::OPEN, &self.open),
            high: column(Columns::HIGH, &self.high),
            low: column(Columns::LOW, &self.low),
            close: column(Columns::CLOSE, &self.close),
            volume: column(Columns::VOLUME, &self.volume),
            events,
            wanted,
        }
    }
}
