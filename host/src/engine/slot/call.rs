//! One call into the instance: rows and events in the form of the contract.

use std::ops::Range;

use super::Slot;
use crate::{
    engine::rows::{Event, EventBody, Rows},
    market::Side,
    plugin::{
        self, Batch, Columns, EconomicIndicator, EventKinds, EventSide, Failure, MarketData,
        NewsSentiment, OrderBook, Output,
    },
};

impl Slot {
    /// One call with the rows and events of some units.
    pub(super) fn attempt(
        &mut self,
        rows: &Rows,
        range: Range<usize>,
        fuel: u64,
        silent: bool,
    ) -> Result<(Output, u64), Failure> {
        let description = self.plugin.description();
        let (first, last) = (rows.among(range.start), rows.among(range.end));
        let r = first.0..last.0;
        self.wanted.clear();
        if !silent && !description.series.is_empty() {
            let interval_ms = self.strategy.values_interval_ms;
            let wanted = r.clone().filter(|&row| rows.wants_values(row, interval_ms));
            self.wanted.extend(wanted.map(|row| (row - r.start) as u32));
        }
        let events: Vec<_> = rows.events[first.1..last.1]
            .iter()
            .filter(|e| description.events.contains(kind(&e.body)))
            .map(|e| event(e, r.start))
            .collect();
        let column = |flag, column: &'_ Vec<f64>| -> Range<usize> {
            if description.columns.contains(flag) && column.len() == rows.len() {
                r.clone()
            } else {
                0..0
            }
        };
        let batch = Batch {
            symbol: &rows.symbol[r.clone()],
            time: &rows.time[column(Columns::TIME, &rows.time)],
            open: &rows.open[column(Columns::OPEN, &rows.open)],
            high: &rows.high[column(Columns::HIGH, &rows.high)],
            low: &rows.low[column(Columns::LOW, &rows.low)],
            close: &rows.close[column(Columns::CLOSE, &rows.close)],
            volume: &rows.volume[column(Columns::VOLUME, &rows.volume)],
            events: &events,
            wanted: &self.wanted,
        };
        let instance = self
            .instance
            .as_mut()
            .expect("only a running slot is attempted");
        instance.on_batch(batch, description.series.len(), fuel)
    }
}

const fn kind(body: &EventBody) -> EventKinds {
    match body {
        EventBody::OrderBook { .. } => EventKinds::ORDER_BOOK,
        EventBody::NewsSentiment { .. } => EventKinds::NEWS_SENTIMENT,
        EventBody::MarketData { .. } => EventKinds::MARKET_DATA,
        EventBody::EconomicIndicator { .. } => EventKinds::ECONOMIC_INDICATOR,
    }
}

fn event(event: &Event, first_row: usize) -> plugin::Event<'_> {
    let body = match &event.body {
        EventBody::OrderBook {
            side,
            price,
            quantity,
        } => plugin::EventBody::OrderBook(OrderBook {
            side: match side {
                Side::Buy => EventSide::Buy,
                Side::Sell => EventSide::Sell,
            },
            price: *price,
            quantity: *quantity,
        }),
        EventBody::NewsSentiment { score, magnitude } => {
            plugin::EventBody::NewsSentiment(NewsSentiment {
                score: *score,
                magnitude: *magnitude,
            })
        }
        EventBody::MarketData {
            market_cap,
            pe_ratio,
        } => plugin::EventBody::MarketData(MarketData {
            market_cap: *market_cap,
            pe_ratio: *pe_ratio,
        }),
        EventBody::EconomicIndicator { name, value } => {
            plugin::EventBody::EconomicIndicator(EconomicIndicator {
                name,
                value: *value,
            })
        }
    };
    plugin::Event {
        row: (event.row - first_row) as u32,
        symbol: event.symbol,
        time: event.time,
        body,
    }
}
