//! The records of a market in order, from a slot on: what a sender reads. Decides share and count.

use std::str::FromStr;

use thiserror::Error;

use crate::{grid::Slot, market::Market, record::Record};

/// One of several equal parts of a market, by symbols: share I of N holds each N-th symbol, beginning with the I-th.
/// All records of a symbol are in one share, so that one sender decides their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    number: usize,
    of: usize,
}

/// Why a text is no share.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("share is {0:?}; use I/N with I from 1 to N, such as 1/3")]
pub struct ShareError(String);

impl Share {
    /// The market as a whole.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// Into how many parts the market is split.
    pub fn of(&self) -> usize {
        self.of
    }

    fn holds(&self, symbol_number: usize) -> bool {
        symbol_number % self.of == self.number - 1
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let parts = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(ShareError(text.to_owned())),
        }
    }
}

/// An endless, or counted, sequence of records.
pub struct Feed {
    market: Market,
    share: Share,
    next: Slot,
    /// Records of the whole market that are still to pass.
    left: u64,
    /// An event whose tick was given out last.
    beside: Option<Record>,
}

impl Feed {
    /// The records of a share from a slot on, among the first `count` of the whole market: shares of equal count are
    /// together exactly the whole.
    pub fn new(market: Market, share: Share, from: Slot, count: u64) -> Self {
        Self {
            market,
            share,
            next: from,
            left: count,
            beside: None,
        }
    }
}

impl Iterator for Feed {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if let Some(event) = self.beside.take() {
            return Some(event);
        }
        while self.left > 0 {
            let slot = self.next;
            self.next = self.market.grid().after(slot);
            let count = self.market.count(slot).min(self.left);
            self.left -= count;
            if !self.share.holds(self.market.symbol_number(slot)) {
                continue;
            }
            let tick = self.market.tick(slot);
            let event = if count > u64::from(tick.is_some()) {
                self.market.event(slot)
            } else {
                None
            };
            if tick.is_none() {
                return event;
            }
            self.beside = event;
            return tick;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{market::MarketShape, record::Kind, symbol::Symbols};

    fn feed(share: Share, count: u64, kinds: &[Kind]) -> Vec<Record> {
        let symbols = Symbols::parse("7").unwrap();
        let shape = MarketShape {
            seed: 4,
            symbols,
            origin_us: 0,
            slots_per_s: 50.0,
            kinds: kinds.to_vec(),
        };
        let market = Market::try_new(&shape).unwrap();
        let from = market.grid().origin();
        Feed::new(market, share, from, count).collect()
    }

    #[test]
    fn shares_are_together_the_whole() {
        let kinds = [
            Kind::StockPrice,
            Kind::NewsSentiment,
            Kind::EconomicIndicator,
        ];
        for count in [1, 20, 21, 22, 5_000] {
            let whole = feed(Share::WHOLE, count, &kinds);
            assert_eq!(whole.len() as u64, count);
            let mut parts = Vec::new();
            for share in ["1/3", "2/3", "3/3"] {
                let part = feed(share.parse().unwrap(), count, &kinds);
                assert!(part.is_sorted_by_key(|record| record.time_us));
                parts.extend(part);
            }
            // Stable, so an event stays behind its tick.
            parts.sort_by_key(|record| record.time_us);
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn a_feed_without_ticks_is_counted_too() {
        let news = feed(Share::WHOLE, 10, &[Kind::NewsSentiment]);
        assert_eq!(news.len(), 10);
        assert!(
            news.iter()
                .all(|record| record.kind() == Kind::NewsSentiment)
        );
    }

    #[test]
    fn a_share_that_cannot_be_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/3/5", "-1/3"] {
            let refused = text.parse::<Share>().unwrap_err().to_string();
            assert_eq!(
                refused,
                format!("share is {text:?}; use I/N with I from 1 to N, such as 1/3")
            );
        }
    }
}
