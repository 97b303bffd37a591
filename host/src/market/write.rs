//! The canonical JSON of a record: compact, fields in a fixed order, numbers in the shortest form that reads
//! back to the same bits.

use super::{Kind, Record, Side, Tick};

/// No canonical line is longer, nor any that may be kept as it came.
pub const MAX_LINE_BYTES: usize = 512;

impl Side {
    /// Its word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

impl Record<'_> {
    /// Adds the record's canonical JSON: one line, without its end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Tick(Tick {
                symbol,
                time,
                open,
                high,
                low,
                close,
                volume,
            }) => {
                // A valid symbol has nothing to escape.
                out.extend_from_slice(b"{\"stock_symbol\":\"");
                out.extend_from_slice(symbol.as_bytes());
                out.push(b'"');
                number(out, "opening_price", *open);
                number(out, "closing_price", *close);
                number(out, "high", *high);
                number(out, "low", *low);
                number(out, "volume", *volume);
                number(out, "timestamp", *time);
            }
            Self::OrderBook {
                symbol,
                time,
                side,
                price,
                quantity,
            } => {
                start(out, self.kind(), *time);
                text(out, "stock_symbol", symbol);
                text(out, "order_type", side.name());
                number(out, "price", *price);
                number(out, "quantity", *quantity);
            }
            Self::NewsSentiment {
                symbol,
                time,
                score,
                magnitude,
            } => {
                start(out, self.kind(), *time);
                text(out, "stock_symbol", symbol);
                number(out, "sentiment_score", *score);
                number(out, "sentiment_magnitude", *magnitude);
            }
            Self::MarketData {
                symbol,
                time,
                market_cap,
                pe_ratio,
            } => {
                start(out, self.kind(), *time);
                text(out, "stock_symbol", symbol);
                number(out, "market_cap", *market_cap);
                number(out, "pe_ratio", *pe_ratio);
            }
            Self::EconomicIndicator { name, time, value } => {
                start(out, self.kind(), *time);
                text(out, "indicator_name", name);
                number(out, "value", *value);
            }
        }
        out.push(b'}');
    }
}

fn start(out: &mut Vec<u8>, kind: Kind, time: f64) {
    out.extend_from_slice(b"{\"data_type\":\"");
    out.extend_from_slice(kind.name().as_bytes());
    out.push(b'"');
    number(out, "timestamp", time);
}

fn number(out: &mut Vec<u8>, name: &str, value: f64) {
    key(out, name);
    serde_json::to_writer(out, &value).expect("a Vec takes every write");
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    serde_json::to_writer(out, value).expect("a Vec takes every write");
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::market::{Limits, Reading, read_line};

    fn json(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        record.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_kind_has_its_fields_in_a_fixed_order() {
        let symbol = Cow::Borrowed("AAPL");
        let tick = Tick {
            symbol: symbol.clone(),
            time: 1_700_000_000.25,
            open: 1.0,
            high: 3.0,
            low: 0.5,
            close: 2.0,
            volume: 100.0,
        };
        assert_eq!(
            json(&Record::Tick(tick)),
            r#"{"stock_symbol":"AAPL","opening_price":1.0,"closing_price":2.0,"high":3.0,"low":0.5,"volume":100.0,"timestamp":1700000000.25}"#
        );
        assert_eq!(
            json(&Record::OrderBook {
                symbol: symbol.clone(),
                time: 1.5,
                side: Side::Sell,
                price: 2.0,
                quantity: 3.0
            }),
            r#"{"data_type":"order_book","timestamp":1.5,"stock_symbol":"AAPL","order_type":"sell","price":2.0,"quantity":3.0}"#
        );
        assert_eq!(
            json(&Record::NewsSentiment {
                symbol: symbol.clone(),
                time: 1.5,
                score: -0.5,
                magnitude: 0.25
            }),
            r#"{"data_type":"news_sentiment","timestamp":1.5,"stock_symbol":"AAPL","sentiment_score":-0.5,"sentiment_magnitude":0.25}"#
        );
        assert_eq!(
            json(&Record::MarketData {
                symbol,
                time: 1.5,
                market_cap: 2e12,
                pe_ratio: -3.5
            }),
            r#"{"data_type":"market_data","timestamp":1.5,"stock_symbol":"AAPL","market_cap":2000000000000.0,"pe_ratio":-3.5}"#
        );
        assert_eq!(
            json(&Record::EconomicIndicator {
                name: "GDP \"real\"".into(),
                time: 1.5,
                value: 2.5
            }),
            r#"{"data_type":"economic_indicator","timestamp":1.5,"indicator_name":"GDP \"real\"","value":2.5}"#
        );
    }

    /// Finite numbers of every magnitude from `low` on.
    fn numbers(low: f64) -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("of the range", move |x| x.is_finite() && *x >= low),
            (1_u32..100_000_000).prop_map(|x| f64::from(x) / 100.0),
        ]
    }

    fn records() -> impl Strategy<Value = Record<'static>> {
        const LEAST_POSITIVE: f64 = 5e-324;
        let symbol = || "[A-Z0-9._-]{1,16}".prop_map(Cow::Owned);
        let time = || -62_135_596_800.0..253_402_300_800.0_f64;
        let positive = || numbers(LEAST_POSITIVE);
        prop_oneof![
            (
                symbol(),
                time(),
                [positive(), positive(), positive(), positive()],
                numbers(0.0)
            )
                .prop_map(|(symbol, time, mut p, volume)| {
                    p.sort_by(f64::total_cmp);
                    Record::Tick(Tick {
                        symbol,
                        time,
                        low: p[0],
                        open: p[1],
                        close: p[2],
                        high: p[3],
                        volume,
                    })
                }),
            (symbol(), time(), any::<bool>(), positive(), numbers(0.0)).prop_map(
                |(symbol, time, buy, price, quantity)| Record::OrderBook {
                    symbol,
                    time,
                    side: if buy { Side::Buy } else { Side::Sell },
                    price,
                    quantity
                }
            ),
            (symbol(), time(), -1.0..=1.0_f64, 0.0..=1.0_f64).prop_map(
                |(symbol, time, score, magnitude)| Record::NewsSentiment {
                    symbol,
                    time,
                    score,
                    magnitude
                }
            ),
            (symbol(), time(), numbers(0.0), numbers(f64::MIN)).prop_map(
                |(symbol, time, market_cap, pe_ratio)| Record::MarketData {
                    symbol,
                    time,
                    market_cap,
                    pe_ratio
                }
            ),
            (
                "[^\\x00-\\x1f\\x7f-\\u{9f}]{1,16}",
                time(),
                numbers(f64::MIN)
            )
                .prop_map(|(name, time, value)| Record::EconomicIndicator {
                    name: name.into(),
                    time,
                    value
                }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_bit_for_bit(record in records()) {
            let line = json(&record);
            let Reading { record: back, .. } = read_line(line.as_bytes(), &Limits::none()).map_err(|r| TestCaseError::fail(r.message))?;
            // `PartialEq` takes -0.0 for 0.0; Debug does not.
            prop_assert_eq!(format!("{:?}", back), format!("{:?}", record));
            prop_assert!(line.len() <= MAX_LINE_BYTES, "{} bytes", line.len());
        }
    }
}
