//! Bars: ticks of one symbol over closed intervals of 1 s, 1 min, 5 min, 1 h and 1 d of the ticks' own time. The
//! next tick closes a bar; there is no timer. A tick older than the open 1 s bar no longer counts in any, so
//! that a longer bar is always the sum of its seconds.

use std::{borrow::Cow, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{log::Offset, market::Tick};

/// The length of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Interval {
    /// `1s`
    #[serde(rename = "1s")]
    Second,
    /// `1m`
    #[serde(rename = "1m")]
    Minute,
    /// `5m`
    #[serde(rename = "5m")]
    FiveMinutes,
    /// `1h`
    #[serde(rename = "1h")]
    Hour,
    /// `1d`, a day of UTC
    #[serde(rename = "1d")]
    Day,
}

impl Interval {
    /// From the shortest to the longest; each is a multiple of the one before.
    pub const ALL: [Self; 5] = [
        Self::Second,
        Self::Minute,
        Self::FiveMinutes,
        Self::Hour,
        Self::Day,
    ];

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> f64 {
        match self {
            Self::Second => 1.0,
            Self::Minute => 60.0,
            Self::FiveMinutes => 300.0,
            Self::Hour => 3600.0,
            Self::Day => 86400.0,
        }
    }

    /// As in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "1s",
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }
}

/// Text that names no interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interval is {0:?}; use one of 1s, 1m, 5m, 1h, 1d")]
pub struct IntervalError(String);

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|i| i.name() == text);
        found.ok_or_else(|| IntervalError(text.to_owned()))
    }
}

/// One bar.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Start of the interval, seconds since the epoch.
    pub open_time: f64,
    /// The first tick's open.
    pub open: f64,
    /// The highest high.
    pub high: f64,
    /// The lowest low.
    pub low: f64,
    /// The last tick's close.
    pub close: f64,
    /// Sum of the volumes.
    pub volume: f64,
    /// Sum of typical price times volume; typical is (high + low + close) / 3.
    pub turnover: f64,
    /// Number of ticks.
    pub ticks: u64,
}

impl Bar {
    /// Volume-weighted mean of the typical price; none where nothing was traded.
    #[must_use]
    pub fn vwap(&self) -> Option<f64> {
        (self.volume > 0.0).then(|| self.turnover / self.volume)
    }

    fn of(open_time: f64, tick: &Tick<'_>) -> Self {
        let typical = (tick.high + tick.low + tick.close) / 3.0;
        Self {
            open_time,
            open: tick.open,
            high: tick.high,
            low: tick.low,
            close: tick.close,
            volume: tick.volume,
            turnover: typical * tick.volume,
            ticks: 1,
        }
    }

    fn add(&mut self, later: &Self) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume += later.volume;
        self.turnover += later.turnover;
        self.ticks += later.ticks;
    }
}

/// What of a message of `bars` is looked at to run over it again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StoredBar<'a> {
    /// Of what.
    #[serde(borrow)]
    pub symbol: Cow<'a, str>,
    /// How long it is.
    pub interval: Interval,
    /// Start of the interval, seconds since the epoch.
    pub open_time: f64,
    /// As in [`Bar`], as are the next four.
    pub open: f64,
    /// See above.
    pub high: f64,
    /// See above.
    pub low: f64,
    /// See above.
    pub close: f64,
    /// See above.
    pub volume: f64,
    /// The message of `ticks` with the tick that closed it.
    pub offset: Offset,
}

/// The open bars of one symbol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenBars([Option<Bar>; Interval::ALL.len()]);

impl OpenBars {
    /// Counts a tick; calls `closed` with each bar that it closes, the shortest first.
    pub fn add(&mut self, tick: &Tick<'_>, mut closed: impl FnMut(Interval, &Bar)) {
        if let Some(second) = &mut self.0[0] {
            if tick.time < second.open_time {
                return;
            }
            if tick.time < second.open_time + 1.0 {
                second.add(&Bar::of(second.open_time, tick));
                return;
            }
        }
        // The second is over: it goes into the minute, which goes into the five minutes if it is over too, ...
        let mut over = self.0[0].replace(Bar::of(tick.time.floor(), tick));
        for (n, interval) in Interval::ALL.into_iter().enumerate() {
            let Some(bar) = over else { return };
            closed(interval, &bar);
            let Some(longer) = Interval::ALL.get(n + 1) else {
                return;
            };
            let open = &mut self.0[n + 1];
            match open {
                Some(open) => open.add(&bar),
                None => {
                    let open_time = (bar.open_time / longer.seconds()).floor() * longer.seconds();
                    *open = Some(Bar { open_time, ..bar });
                }
            }
            over = open.take_if(|b| tick.time >= b.open_time + longer.seconds());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(times_and_prices: &[(f64, f64)]) -> Vec<(Interval, Bar)> {
        let mut bars = OpenBars::default();
        let mut closed = Vec::new();
        for &(time, price) in times_and_prices {
            let tick = Tick {
                symbol: "A".into(),
                time,
                open: price,
                high: price + 1.0,
                low: price - 0.5,
                close: price,
                volume: 2.0,
            };
            bars.add(&tick, |interval, bar| closed.push((interval, *bar)));
        }
        closed
    }

    #[test]
    fn the_next_tick_closes_a_bar() {
        assert_eq!(feed(&[(10.1, 5.0), (10.9, 7.0)]), []);
        let closed = feed(&[(10.1, 5.0), (10.9, 7.0), (11.0, 6.0)]);
        let bar = Bar {
            open_time: 10.0,
            open: 5.0,
            high: 8.0,
            low: 4.5,
            close: 7.0,
            volume: 4.0,
            turnover: 2.0 * (15.5 / 3.0) + 2.0 * (21.5 / 3.0),
            ticks: 2,
        };
        assert_eq!(closed, [(Interval::Second, bar)]);
    }

    #[test]
    fn a_longer_bar_is_the_sum_of_its_seconds() {
        let ticks: Vec<_> = (0..7300)
            .map(|n| (f64::from(n) * 0.5, 100.0 + f64::from(n % 17)))
            .collect();
        let closed = feed(&ticks);
        let of = |wanted| {
            closed
                .iter()
                .filter(move |(i, _)| *i == wanted)
                .map(|(_, b)| *b)
        };
        assert_eq!(of(Interval::Minute).count(), 60);
        assert_eq!(of(Interval::FiveMinutes).count(), 12);
        let hour: Vec<_> = of(Interval::Hour).collect();
        assert_eq!(hour.len(), 1);
        let seconds: Vec<_> = of(Interval::Second)
            .filter(|b| b.open_time < 3600.0)
            .collect();
        assert_eq!(hour[0].ticks, seconds.iter().map(|b| b.ticks).sum::<u64>());
        assert_eq!(
            hour[0].high,
            seconds.iter().map(|b| b.high).fold(f64::MIN, f64::max)
        );
        assert_eq!(
            hour[0].low,
            seconds.iter().map(|b| b.low).fold(f64::MAX, f64::min)
        );
        assert_eq!(
            (hour[0].open, hour[0].close),
            (seconds[0].open, seconds[seconds.len() - 1].close)
        );
        assert_eq!(hour[0].open_time, 0.0);
    }

    #[test]
    fn a_tick_older_than_the_open_second_counts_in_no_bar() {
        let with = feed(&[
            (10.0, 5.0),
            (12.0, 5.0),
            (11.9, 99.0),
            (13.0, 5.0),
            (71.0, 5.0),
        ]);
        let without = feed(&[(10.0, 5.0), (12.0, 5.0), (13.0, 5.0), (71.0, 5.0)]);
        assert_eq!(with, without);
    }

    #[test]
    fn a_gap_closes_every_bar_that_it_ends_and_makes_none_for_itself() {
        let closed = feed(&[(10.0, 5.0), (100_000.0, 6.0)]);
        let intervals: Vec<_> = closed.iter().map(|(i, b)| (*i, b.ticks)).collect();
        assert_eq!(intervals, Interval::ALL.map(|i| (i, 1)));
    }
}
