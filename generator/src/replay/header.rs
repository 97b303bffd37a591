//! Where the fields of a tick are in a row of CSV, and how they are written there: by the names of our records, or as
//! those who give prices away write them. Knows nothing of files.

use std::borrow::Cow;

use super::{CLOSE, HIGH, LOW, Names, OPEN, Problem, SYMBOL, TIME, VOLUME, number, time_us};
use crate::{
    record::{Body, Record, Tick},
    symbol::Symbol,
};

pub(super) struct Header {
    time: usize,
    /// Whether that column is one of dates, which may be written `20260105`; such numbers of seconds are all of 1970.
    is_date: bool,
    /// The time of day, where the file has the date in a column of its own.
    time_of_day: Option<usize>,
    /// Whether dates are written month first, with slashes: Nasdaq does, and nobody else calls the close `Close/Last`.
    is_month_first: bool,
    symbol: Option<usize>,
    open: usize,
    high: usize,
    low: usize,
    close: usize,
    volume: usize,
}

impl Header {
    /// Finds the columns; `symbol` is that of rows which name none.
    pub(super) fn find(names: &csv::StringRecord, symbol: Option<Symbol>) -> Result<Self, Problem> {
        // Stooq writes `<OPEN>`.
        let plain = |name: &str| -> String {
            let name = name.trim_start_matches('<').trim_end_matches('>');
            name.to_ascii_lowercase()
        };
        let names: Vec<String> = names.iter().map(plain).collect();
        let find = |wanted: Names| {
            let mut wanted = wanted.iter();
            wanted.find_map(|name| names.iter().position(|found| found == name))
        };
        let need = |wanted: Names| find(wanted).ok_or(Problem::Missing(wanted[0], wanted));
        let (time, time_of_day) = match (find(&["date"]), find(&["time"])) {
            (Some(date), Some(time)) if find(&["timestamp"]).is_none() => (date, Some(time)),
            _ => (need(TIME)?, None),
        };
        let symbol_at = find(SYMBOL);
        if symbol_at.is_none() && symbol.is_none() {
            return Err(Problem::NoSymbol);
        }
        Ok(Self {
            time,
            is_date: find(&["date"]) == Some(time),
            time_of_day,
            is_month_first: find(&["close/last"]).is_some(),
            symbol: symbol_at,
            open: need(OPEN)?,
            high: need(HIGH)?,
            low: need(LOW)?,
            close: need(CLOSE)?,
            volume: need(VOLUME)?,
        })
    }

    /// A row's tick; none where it has no prices, as a day without trade.
    pub(super) fn tick(
        &self,
        row: &csv::StringRecord,
        symbol: Option<Symbol>,
    ) -> Result<Option<Record>, Problem> {
        // The reader has checked that each row has as many fields as the header.
        let text = |at: usize| row.get(at).unwrap_or_default();
        let is_empty = |at: usize| matches!(text(at), "" | "null" | "N/A");
        if [self.open, self.high, self.low, self.close]
            .into_iter()
            .all(is_empty)
        {
            return Ok(None);
        }
        let float = |field, at| number(field, text(at).trim_start_matches('$'));
        let symbol = match (self.symbol, symbol) {
            (Some(at), _) => Symbol::parse(text(at))?,
            (None, Some(symbol)) => symbol,
            (None, None) => return Err(Problem::NoSymbol),
        };
        let tick = Tick {
            symbol,
            open: float(OPEN[0], self.open)?,
            high: float(HIGH[0], self.high)?,
            low: float(LOW[0], self.low)?,
            close: float(CLOSE[0], self.close)?,
            volume: float(VOLUME[0], self.volume)?,
        };
        let time = self.time(text(self.time), self.time_of_day.map(text));
        Ok(Some(Record {
            time_us: time_us(&time)?,
            body: Body::Tick(tick),
        }))
    }

    /// The time as text that can be read.
    fn time<'a>(&self, text: &'a str, time_of_day: Option<&str>) -> Cow<'a, str> {
        let date: Cow<'a, str> = match text.as_bytes() {
            [.., b'/', _, _, b'/', _, _, _, _] if self.is_month_first && text.is_ascii() => {
                let (month_and_day, year) = text.split_at(text.len() - 4);
                format!(
                    "{year}-{}",
                    month_and_day.trim_end_matches('/').replace('/', "-")
                )
                .into()
            }
            [_, _, _, _, _, _, _, _] if self.is_date && is_digits(text) => {
                format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..]).into()
            }
            _ => Cow::Borrowed(text),
        };
        match time_of_day {
            None => date,
            Some(time) if time.len() == 6 && is_digits(time) => {
                format!("{date} {}:{}:{}", &time[..2], &time[2..4], &time[4..]).into()
            }
            Some(time) => format!("{date} {time}").into(),
        }
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TICK, replay};

    #[test]
    fn csv_of_the_usual_shapes_gives_the_same_tick() {
        for content in [
            "timestamp,stock_symbol,opening_price,high,low,closing_price,volume\n1767623400,AAPL,190,192,189.123456789,191.25,1000\n",
            "Date,Ticker,Open,High,Low,Close,Adj Close,Volume\r\n2026-01-05T14:30:00Z,AAPL,190.0,192.0,189.123456789,191.25,191.2,1000\r\n",
            "\u{feff}symbol, datetime, open, high, low, close, volume\nAAPL, 2026-01-05 14:30:00, 190, 192, 189.123456789, 191.25, 1000",
            "date,time,ticker,vol,open,high,low,close\n2026-01-05,14:30,AAPL,1e3,190,192,189.123456789,191.25\n",
            "date,open,high,low,close,volume,Name\n2026-01-05 14:30,190,192,189.123456789,191.25,1000,AAPL\n",
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\nAAPL,5,20260105,143000,190,192,189.123456789,191.25,1000,0\n",
        ] {
            assert_eq!(replay(content, None).unwrap(), [TICK], "{content}");
        }
        let unnamed =
            "Date,Open,High,Low,Close,Volume\n2026-01-05 14:30,190,192,189.123456789,191.25,1000\n";
        assert_eq!(replay(unnamed, Some("AAPL")).unwrap(), [TICK]);
    }

    #[test]
    fn dates_alone_mean_midnight_in_each_way_of_writing_them() {
        let midnight = TICK.replace("1767623400.0", "1767571200.0");
        for content in [
            "Date,Open,High,Low,Close,Adj Close,Volume\n2026-01-05,190,192,189.123456789,191.25,95.5,1000\n",
            "Date,Open,High,Low,Close,Volume\n20260105,190,192,189.123456789,191.25,1000\n",
            "Date,Close/Last,Volume,Open,High,Low\n01/05/2026,$191.25,1000,$190.00,$192.00,$189.123456789\n",
        ] {
            assert_eq!(
                replay(content, Some("AAPL")).unwrap(),
                [&*midnight],
                "{content}"
            );
        }
        // Which of them is the month, nobody can tell.
        let ambiguous = "Date,Open,High,Low,Close,Volume\n01/05/2026,190,192,189,191,1000\n";
        let refused = replay(ambiguous, Some("AAPL")).unwrap_err();
        assert!(refused.contains("\"01/05/2026\" is no time"), "{refused}");
    }

    #[test]
    fn a_day_without_prices_is_passed_over_and_half_a_day_is_not() {
        let head = "Date,Open,High,Low,Close,Adj Close,Volume\n";
        let row = "2026-01-05 14:30,190,192,189.123456789,191.25,191.25,1000\n";
        let without = "2026-01-04,null,null,null,null,null,null\n2026-01-04,,,,,,\n";
        let content = format!("{head}{without}{row}");
        assert_eq!(replay(&content, Some("AAPL")).unwrap(), [TICK]);
        let half = format!("{head}2026-01-04,190,,189,191,191,5\n");
        let refused = replay(&half, Some("AAPL")).unwrap_err();
        assert_eq!(
            refused,
            "2: field \"high\" is \"\"; it must be a finite number"
        );
    }
}
