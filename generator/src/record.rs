//! The five kinds of record, the rules that a valid one keeps, and their JSON. Does not know where records come from.

use std::borrow::Cow;

use thiserror::Error;

use crate::symbol::Symbol;

/// One thing that the market says at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Microseconds since the epoch.
    pub time_us: i64,
    /// What it says.
    pub body: Body,
}

/// What a record says, by kind. All numbers are finite in a valid record; prices are positive.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `stock_price`: open, high, low, close and volume of one symbol.
    Tick(Tick),
    /// `order_book`: an order placed.
    Order {
        /// What it is for.
        symbol: Symbol,
        /// Whether it buys or sells.
        side: Side,
        /// Its limit.
        price: f64,
        /// How many shares.
        quantity: f64,
    },
    /// `news_sentiment`: how news about a symbol sound.
    News {
        /// What they are about.
        symbol: Symbol,
        /// From -1 (bad) to 1 (good).
        score: f64,
        /// From 0 (nobody cares) to 1.
        magnitude: f64,
    },
    /// `market_data`: what a company is worth.
    Fundamentals {
        /// Whose shares.
        symbol: Symbol,
        /// Price of all shares together.
        market_cap: f64,
        /// Price over yearly earnings of a share.
        pe_ratio: f64,
    },
    /// `economic_indicator`: a number about the whole economy; belongs to no symbol.
    Economic {
        /// Which number.
        name: Cow<'static, str>,
        /// Its value.
        value: f64,
    },
}

/// Open, high, low, close and volume of one symbol at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the words of the trade")]
pub struct Tick {
    pub symbol: Symbol,
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    pub volume: f64,
}

/// Whether an order buys or sells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the words of the trade")]
pub enum Side {
    Buy,
    Sell,
}

/// The kind of a record, by the name that its `data_type` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[clap(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the variants are the names in the records")]
pub enum Kind {
    StockPrice,
    OrderBook,
    NewsSentiment,
    MarketData,
    EconomicIndicator,
}

/// A rule that a record breaks: the field, its value, what it should be.
#[derive(Debug, Error, PartialEq)]
#[error("{field} is {value}; {rule}")]
pub struct Breach {
    /// The field as the JSON names it.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// What it should be.
    pub rule: &'static str,
}

impl Record {
    /// The symbol that the record is about; none for economic indicators.
    pub fn symbol(&self) -> Option<Symbol> {
        match &self.body {
            Body::Tick(Tick { symbol, .. })
            | Body::Order { symbol, .. }
            | Body::News { symbol, .. }
            | Body::Fundamentals { symbol, .. } => Some(*symbol),
            Body::Economic { .. } => None,
        }
    }

    /// The kind of the record.
    pub fn kind(&self) -> Kind {
        match &self.body {
            Body::Tick(_) => Kind::StockPrice,
            Body::Order { .. } => Kind::OrderBook,
            Body::News { .. } => Kind::NewsSentiment,
            Body::Fundamentals { .. } => Kind::MarketData,
            Body::Economic { .. } => Kind::EconomicIndicator,
        }
    }

    /// Checks the rules that ingest checks too, but for those that need a clock.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Breach> {
        match &self.body {
            Body::Tick(tick) => tick.check(),
            Body::Order {
                price, quantity, ..
            } => {
                positive("price", *price)?;
                rule(
                    "quantity",
                    *quantity,
                    *quantity >= 0.0,
                    "it must be 0 or more",
                )
            }
            Body::News {
                score, magnitude, ..
            } => {
                rule(
                    "sentiment_score",
                    *score,
                    (-1.0..=1.0).contains(score),
                    "it must be -1 to 1",
                )?;
                rule(
                    "sentiment_magnitude",
                    *magnitude,
                    (0.0..=1.0).contains(magnitude),
                    "it must be 0 to 1",
                )
            }
            Body::Fundamentals {
                market_cap,
                pe_ratio,
                ..
            } => {
                rule(
                    "market_cap",
                    *market_cap,
                    *market_cap >= 0.0,
                    "it must be 0 or more",
                )?;
                rule("pe_ratio", *pe_ratio, true, "")
            }
            Body::Economic { value, .. } => rule("value", *value, true, ""),
        }
    }

    /// Appends the record as compact JSON, without a line end. Numbers are written as `serde_json` writes them,
    /// whole volumes and quantities without a fraction.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Tick(tick) => {
                out.extend_from_slice(b"{\"stock_symbol\":\"");
                out.extend_from_slice(tick.symbol.as_bytes());
                out.push(b'"');
                number(out, ",\"opening_price\":", tick.open);
                number(out, ",\"closing_price\":", tick.close);
                number(out, ",\"high\":", tick.high);
                number(out, ",\"low\":", tick.low);
                whole_or_number(out, ",\"volume\":", tick.volume);
                out.extend_from_slice(b",\"timestamp\":");
                seconds(out, self.time_us);
            }
            Body::Order {
                symbol,
                side,
                price,
                quantity,
            } => {
                self.open_typed("order_book", Some(symbol), out);
                out.extend_from_slice(match side {
                    Side::Buy => b",\"order_type\":\"buy\"",
                    Side::Sell => b",\"order_type\":\"sell\"",
                });
                number(out, ",\"price\":", *price);
                whole_or_number(out, ",\"quantity\":", *quantity);
            }
            Body::News {
                symbol,
                score,
                magnitude,
            } => {
                self.open_typed("news_sentiment", Some(symbol), out);
                number(out, ",\"sentiment_score\":", *score);
                number(out, ",\"sentiment_magnitude\":", *magnitude);
            }
            Body::Fundamentals {
                symbol,
                market_cap,
                pe_ratio,
            } => {
                self.open_typed("market_data", Some(symbol), out);
                number(out, ",\"market_cap\":", *market_cap);
                number(out, ",\"pe_ratio\":", *pe_ratio);
            }
            Body::Economic { name, value } => {
                self.open_typed("economic_indicator", None, out);
                out.extend_from_slice(b",\"indicator_name\":");
                json(out, name);
                number(out, ",\"value\":", *value);
            }
        }
        out.push(b'}');
    }

    fn open_typed(&self, data_type: &str, symbol: Option<&Symbol>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"data_type\":\"");
        out.extend_from_slice(data_type.as_bytes());
        out.extend_from_slice(b"\",\"timestamp\":");
        seconds(out, self.time_us);
        if let Some(symbol) = symbol {
            out.extend_from_slice(b",\"stock_symbol\":\"");
            out.extend_from_slice(symbol.as_bytes());
            out.push(b'"');
        }
    }
}

impl Tick {
    fn check(&self) -> Result<(), Breach> {
        positive("opening_price", self.open)?;
        positive("closing_price", self.close)?;
        positive("high", self.high)?;
        positive("low", self.low)?;
        rule(
            "volume",
            self.volume,
            self.volume >= 0.0,
            "it must be 0 or more",
        )?;
        let low_rule = "it must be at most the opening and the closing price";
        rule(
            "low",
            self.low,
            self.low <= self.open.min(self.close),
            low_rule,
        )?;
        let high_rule = "it must be at least the opening and the closing price";
        rule(
            "high",
            self.high,
            self.high >= self.open.max(self.close),
            high_rule,
        )
    }
}

fn positive(field: &'static str, value: f64) -> Result<(), Breach> {
    rule(field, value, value > 0.0, "prices must be positive")
}

fn rule(field: &'static str, value: f64, kept: bool, rule: &'static str) -> Result<(), Breach> {
    match (value.is_finite(), kept) {
        (false, _) => Err(Breach {
            field,
            value,
            rule: "it must be a finite number",
        }),
        (_, false) => Err(Breach { field, value, rule }),
        _ => Ok(()),
    }
}

fn number(out: &mut Vec<u8>, label: &str, value: f64) {
    out.extend_from_slice(label.as_bytes());
    float(out, value);
}

fn whole_or_number(out: &mut Vec<u8>, label: &str, value: f64) {
    out.extend_from_slice(label.as_bytes());
    // Below 2^53 each whole number is exact.
    if value.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&value) {
        integer(out, value as u64);
    } else {
        float(out, value);
    }
}

/// What `serde_json` writes, four times as fast for what has at most four decimals: simulated numbers all do.
fn float(out: &mut Vec<u8>, value: f64) {
    let units = (value.abs() * 1e4).round();
    // The quotient is the double nearest to the decimal fraction, so equality means that these digits read back as
    // the value, and fewer could not.
    if units < 1e15 && units / 1e4 == value.abs() {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        decimal::<4>(out, units as u64);
    } else {
        json(out, &value);
    }
}

fn seconds(out: &mut Vec<u8>, time_us: i64) {
    if time_us < 0 {
        out.push(b'-');
    }
    decimal::<6>(out, time_us.unsigned_abs());
}

/// `units` of 10^-D, with one to D decimals.
fn decimal<const D: usize>(out: &mut Vec<u8>, units: u64) {
    let one = 10_u64.pow(D as u32);
    integer(out, units / one);
    let mut digits = [b'0'; D];
    let mut rest = units % one;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let len = digits
        .iter()
        .rposition(|d| *d != b'0')
        .map_or(1, |last| last + 1);
    out.push(b'.');
    out.extend_from_slice(&digits[..len]);
}

fn integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value)
        .expect("numbers and text always have a JSON form, and a Vec takes all bytes");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::instant::SECOND_US;

    fn symbol() -> Symbol {
        Symbol::parse("AAPL").unwrap()
    }

    fn text(record: &Record) -> String {
        let mut out = Vec::new();
        record.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn tick(open: f64, high: f64, low: f64, close: f64, volume: f64) -> Record {
        let body = Body::Tick(Tick {
            symbol: symbol(),
            open,
            high,
            low,
            close,
            volume,
        });
        Record {
            time_us: 1_700_000_000_250_000,
            body,
        }
    }

    #[test]
    fn each_kind_has_its_json() {
        let at = |body| {
            text(&Record {
                time_us: 1_700_000_000_250_000,
                body,
            })
        };
        let symbol = symbol();
        assert_eq!(
            text(&tick(190.5, 190.75, 190.0, 190.1234, 1500.0)),
            r#"{"stock_symbol":"AAPL","opening_price":190.5,"closing_price":190.1234,"high":190.75,"low":190.0,"volume":1500,"timestamp":1700000000.25}"#
        );
        assert_eq!(
            at(Body::Order {
                symbol,
                side: Side::Sell,
                price: 190.0,
                quantity: 10.0
            }),
            r#"{"data_type":"order_book","timestamp":1700000000.25,"stock_symbol":"AAPL","order_type":"sell","price":190.0,"quantity":10}"#
        );
        assert_eq!(
            at(Body::News {
                symbol,
                score: -0.5,
                magnitude: 0.25
            }),
            r#"{"data_type":"news_sentiment","timestamp":1700000000.25,"stock_symbol":"AAPL","sentiment_score":-0.5,"sentiment_magnitude":0.25}"#
        );
        assert_eq!(
            at(Body::Fundamentals {
                symbol,
                market_cap: 3e12,
                pe_ratio: 29.5
            }),
            r#"{"data_type":"market_data","timestamp":1700000000.25,"stock_symbol":"AAPL","market_cap":3000000000000.0,"pe_ratio":29.5}"#
        );
        assert_eq!(
            at(Body::Economic {
                name: "a \"b\"".into(),
                value: 2.0
            }),
            r#"{"data_type":"economic_indicator","timestamp":1700000000.25,"indicator_name":"a \"b\"","value":2.0}"#
        );
    }

    #[test]
    fn a_broken_rule_names_field_and_value() {
        let breach = |record: Record| record.check().unwrap_err().to_string();
        assert_eq!(
            breach(tick(1.0, 1.0, 1.0, -1.5, 0.0)),
            "closing_price is -1.5; prices must be positive"
        );
        assert_eq!(
            breach(tick(1.0, f64::NAN, 1.0, 1.0, 0.0)),
            "high is NaN; it must be a finite number"
        );
        assert!(
            breach(tick(1.0, 2.0, 1.5, 2.0, 0.0)).starts_with("low is 1.5; it must be at most")
        );
        assert!(
            breach(tick(1.0, 1.5, 1.0, 2.0, 0.0)).starts_with("high is 1.5; it must be at least")
        );
        assert_eq!(
            breach(tick(1.0, 1.0, 1.0, 1.0, -1.0)),
            "volume is -1; it must be 0 or more"
        );
        assert_eq!(tick(1.0, 1.0, 1.0, 1.0, 0.0).check(), Ok(()));
    }

    proptest! {
        #[test]
        fn floats_are_written_as_serde_json_writes_them(x: f64, units in -1_000_000_000_000i64..1_000_000_000_000) {
            for value in [x, units as f64 / 1e4, units as f64, units as f64 / 1e6, -0.0] {
                if value.is_finite() {
                    let mut out = Vec::new();
                    float(&mut out, value);
                    prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&value).unwrap());
                }
            }
        }

        #[test]
        fn times_read_back_to_the_microsecond(time_us in 0i64..253_402_300_799_000_000) {
            let mut out = Vec::new();
            seconds(&mut out, time_us);
            let read: f64 = serde_json::from_slice(&out).unwrap();
            // A double of seconds resolves a microsecond until the year 2106.
            let tolerance_us = if time_us >> 32 < SECOND_US { 0 } else { 32 };
            prop_assert!(((read * 1e6).round() as i64).abs_diff(time_us) <= tolerance_us);
        }

        #[test]
        fn whole_volumes_have_no_fraction(volume in 0u64..1 << 53) {
            let mut out = Vec::new();
            whole_or_number(&mut out, "", volume as f64);
            prop_assert_eq!(String::from_utf8(out).unwrap(), volume.to_string());
        }
    }
}
