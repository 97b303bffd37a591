//! Reads one record from JSON and holds it to the rules. What the fast scanner does not take is read by serde_json;
//! both give the same answer.

use serde::de::IgnoredAny;

use super::{
    Limits, Record, Rejection, Tick,
    fields::{Fields, Shown, TIMES},
    scan::scan_tick,
};

/// A valid record, and whether its line may be kept as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<'a> {
    /// The record.
    pub record: Record<'a>,
    /// The line is a tick of the usual form: the usual fields in the usual order and no others, no longer than
    /// [`super::MAX_LINE_BYTES`]. To store it, copy it; any other is written anew.
    pub usual: bool,
}

/// Reads one JSON object that must be a valid record.
///
/// # Errors
/// The first rule that it breaks.
pub fn read_record<'a>(line: &'a [u8], limits: &Limits) -> Result<Record<'a>, Rejection> {
    read_line(line, limits).map(|reading| reading.record)
}

/// As [`read_record`], for those who store the line.
///
/// # Errors
/// The first rule that it breaks.
pub fn read_line<'a>(line: &'a [u8], limits: &Limits) -> Result<Reading<'a>, Rejection> {
    let reading = match scan_tick(line) {
        Some(tick) if tick_is_valid(&tick) => Reading {
            record: Record::Tick(tick),
            usual: true,
        },
        _ => Reading {
            record: read_any(line)?,
            usual: false,
        },
    };
    limits.check(reading.record.time())?;
    Ok(reading)
}

/// The rules of a scanned tick, without the words. [`Fields`] has the words.
fn tick_is_valid(tick: &Tick<'_>) -> bool {
    let Tick {
        symbol: _,
        time,
        open,
        high,
        low,
        close,
        volume,
    } = *tick;
    // The lowest price is positive, so all are. A scanned number is neither negative nor NaN.
    low > 0.0
        && low <= open.min(close)
        && high >= open.max(close)
        && high < f64::INFINITY
        && volume < f64::INFINITY
        && TIMES.contains(&time)
}

/// Reads any JSON.
fn read_any(line: &[u8]) -> Result<Record<'_>, Rejection> {
    let text = str::from_utf8(line).map_err(|e| {
        not_json(format!(
            "byte {} is not UTF-8; a record is one JSON object",
            e.valid_up_to()
        ))
    })?;
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| {
        // Another type is refused at its first byte, before the rest was seen to be JSON.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) if error.is_data() => Rejection {
                field: String::new(),
                rule: "object",
                message: format!(
                    "the record is {}; it must be a JSON object",
                    Shown(text.trim())
                ),
            },
            Ok(_) => not_json(format!("the record is not JSON: {error}")),
            Err(error) => not_json(format!("the record is not JSON: {error}")),
        }
    })?;
    fields.record()
}

fn not_json(message: String) -> Rejection {
    Rejection {
        field: String::new(),
        rule: "json",
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::{Value, json};

    use super::*;
    use crate::market::{MAX_LINE_BYTES, Side};

    fn refused(line: &[u8]) -> (String, &'static str, String) {
        let limits = Limits {
            now: 1_700_000_000.0,
            max_future_skew: 10.0,
        };
        let Rejection {
            field,
            rule,
            message,
        } = read_record(line, &limits).unwrap_err();
        (field, rule, message)
    }

    fn usual() -> Value {
        json!({"stock_symbol": "AAPL", "opening_price": 10.0, "closing_price": 11.0, "high": 12.0, "low": 9.0,
            "volume": 100.0, "timestamp": 1.5})
    }

    fn with(field: &str, value: Value) -> String {
        let mut record = usual();
        record[field] = value;
        record.to_string()
    }

    const COMPACT: &str = r#"{"stock_symbol":"AAPL","opening_price":187.25,"closing_price":188,"high":189.5,"low":186.125,"volume":0,"timestamp":1700000000.123456}"#;
    const SPACED: &str = r#"{"stock_symbol": "AAPL", "opening_price": 187.25, "closing_price": 188, "high": 189.5, "low": 186.125, "volume": 0, "timestamp": 1700000000.123456}"#;

    fn aapl() -> Record<'static> {
        Record::Tick(Tick {
            symbol: "AAPL".into(),
            time: 1_700_000_000.123_456,
            open: 187.25,
            high: 189.5,
            low: 186.125,
            close: 188.0,
            volume: 0.0,
        })
    }

    #[test]
    fn a_tick_of_the_usual_form_may_be_kept_as_it_came() {
        for line in [COMPACT, SPACED] {
            let reading = read_line(line.as_bytes(), &Limits::none()).unwrap();
            assert_eq!(
                reading,
                Reading {
                    record: aapl(),
                    usual: true
                }
            );
        }
    }

    #[test]
    fn the_same_tick_in_any_other_form_reads_the_same() {
        let reordered = r#"{"timestamp":1700000000.123456,"volume":0,"low":186.125,"high":189.5,"closing_price":188,"opening_price":187.25,"stock_symbol":"AAPL"}"#;
        for line in [
            COMPACT.replace("188,", "188.0,"),
            COMPACT.replace("188,", "1.88e2,"),
            COMPACT.replace("AAPL", r"\u0041APL"),
            COMPACT.replace("low", r"l\u006fw"),
            COMPACT.replace('{', r#"{"data_type":"stock_price","#),
            COMPACT.replace('}', r#","data_type":"stock_price"}"#),
            COMPACT.replace('{', r#"{"note":{"x":[null,{"low":5}],"y":"\ud800"},"#),
            COMPACT.replace(
                '{',
                r#"{"price":"not a field of a tick","note":1,"note":1e999,"#,
            ),
            format!(" \t{SPACED}\r\n"),
            reordered.to_string(),
        ] {
            assert_eq!(
                read_record(line.as_bytes(), &Limits::none()).as_ref(),
                Ok(&aapl()),
                "{line}"
            );
        }
    }

    #[test]
    fn each_kind_is_read() {
        let none = Limits::none();
        let read = |line: &'static str| read_record(line.as_bytes(), &none).unwrap();
        let symbol = || Cow::Borrowed("MSFT");
        assert_eq!(
            read(
                r#"{"data_type":"order_book","timestamp":1,"stock_symbol":"MSFT","order_type":"buy","price":2,"quantity":3}"#
            ),
            Record::OrderBook {
                symbol: symbol(),
                time: 1.0,
                side: Side::Buy,
                price: 2.0,
                quantity: 3.0
            }
        );
        assert_eq!(
            read(
                r#"{"data_type":"news_sentiment","timestamp":1,"stock_symbol":"MSFT","sentiment_score":-1,"sentiment_magnitude":1}"#
            ),
            Record::NewsSentiment {
                symbol: symbol(),
                time: 1.0,
                score: -1.0,
                magnitude: 1.0
            }
        );
        assert_eq!(
            read(
                r#"{"data_type":"market_data","timestamp":1,"stock_symbol":"MSFT","market_cap":0,"pe_ratio":-7.5}"#
            ),
            Record::MarketData {
                symbol: symbol(),
                time: 1.0,
                market_cap: 0.0,
                pe_ratio: -7.5
            }
        );
        assert_eq!(
            read(
                r#"{"data_type":"economic_indicator","timestamp":1,"indicator_name":"GDP Growth","value":-0.1}"#
            ),
            Record::EconomicIndicator {
                name: "GDP Growth".into(),
                time: 1.0,
                value: -0.1
            }
        );
    }

    #[test]
    fn a_refusal_names_field_value_and_rule() {
        let cases = [
            (with("closing_price", json!(-1.5)), "closing_price", "positive", "closing_price is -1.5; prices must be positive"),
            (with("low", json!(0)), "low", "positive", "low is 0; prices must be positive"),
            (COMPACT.replace("187.25", "1e999"), "opening_price", "finite", "opening_price is 1e999; numbers must be finite"),
            (with("volume", json!(-1)), "volume", "non_negative", "volume is -1; volumes must be 0 or more"),
            (with("high", json!("12")), "high", "type", "high is \"12\"; it must be a number"),
            (with("high", json!(null)), "high", "type", "high is null; it must be a number"),
            (with("high", json!([1])), "high", "type", "high is an array; it must be a number"),
            (with("stock_symbol", json!(7)), "stock_symbol", "type", "stock_symbol is 7; it must be a string"),
            (
                with("stock_symbol", json!("aapl")),
                "stock_symbol",
                "symbol",
                "stock_symbol is \"aapl\"; use 1 to 16 characters from A-Z 0-9 . - _",
            ),
            (with("high", json!(10.5)), "high", "low_high", "high is 10.5; it must be at least the open, 10, and the close, 11"),
            (with("low", json!(10.5)), "low", "low_high", "low is 10.5; it must be at most the open, 10, and the close, 11"),
            (
                with("timestamp", json!(1_700_000_020)),
                "timestamp",
                "future",
                "timestamp is 1700000020, 20.000 s ahead of the clock; use seconds since the epoch, at most 10 s ahead",
            ),
            (
                with("timestamp", json!(1e300)),
                "timestamp",
                "range",
                "timestamp is 1e+300; use seconds since the epoch, within the years 1 to 9999",
            ),
            (
                with("data_type", json!("trade")),
                "data_type",
                "data_type",
                "data_type is \"trade\"; use one of stock_price, order_book, news_sentiment, market_data, economic_indicator, or leave it out for a stock_price",
            ),
            (with("data_type", json!(null)), "data_type", "type", "data_type is null; it must be a string"),
            (
                COMPACT.replace('{', "{\"low\":1,"),
                "low",
                "duplicate",
                "low is given twice; give it once",
            ),
            (
                COMPACT.replace("\"low\":186.125,", ""),
                "low",
                "required",
                "low is missing; a stock_price needs it",
            ),
            (
                COMPACT.replace("AAPL", r"\ud800"),
                "stock_symbol",
                "json",
                "stock_symbol is \"\\ud800\"; that is not JSON: unexpected end of hex escape at line 1 column 8",
            ),
            ("[1, 2]".into(), "", "object", "the record is an array; it must be a JSON object"),
            ("null".into(), "", "object", "the record is null; it must be a JSON object"),
            ("\"x\"".into(), "", "object", "the record is \"x\"; it must be a JSON object"),
            ("[1, 2".into(), "", "json", "the record is not JSON: EOF while parsing a list at line 1 column 5"),
            ("".into(), "", "json", "the record is not JSON: EOF while parsing a value at line 1 column 0"),
            ("{}".into(), "stock_symbol", "required", "stock_symbol is missing; a stock_price needs it"),
            (
                r#"{"data_type":"order_book","stock_symbol":"A","order_type":"hold","price":1,"quantity":1,"timestamp":1}"#.into(),
                "order_type",
                "range",
                "order_type is \"hold\"; use \"buy\" or \"sell\"",
            ),
            (
                r#"{"data_type":"news_sentiment","stock_symbol":"A","sentiment_score":-1.01,"sentiment_magnitude":1,"timestamp":1}"#.into(),
                "sentiment_score",
                "range",
                "sentiment_score is -1.01; it must be -1 to 1",
            ),
            (
                r#"{"data_type":"economic_indicator","indicator_name":"\u0007","value":1,"timestamp":1}"#.into(),
                "indicator_name",
                "name",
                "indicator_name is \"\\u0007\"; use 1 to 64 bytes without control characters",
            ),
        ];
        for (line, field, rule, message) in cases {
            assert_eq!(
                refused(line.as_bytes()),
                (field.to_string(), rule, message.to_string()),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_refused_wherever_it_is() {
        for line in [
            format!("{COMPACT}x"),
            format!("{COMPACT}{COMPACT}"),
            format!("{COMPACT},"),
            COMPACT.replace("187.25", "0187.25"),
            COMPACT.replace("187.25", "187."),
            COMPACT.replace("187.25", ".5"),
            COMPACT.replace("187.25", "+1"),
            COMPACT.replace("187.25", "NaN"),
            COMPACT.replace("187.25", "Infinity"),
            COMPACT.replace("187.25", "1e"),
            COMPACT.replace('}', ",}"),
            COMPACT.replace("\"low\"", "'low'"),
            COMPACT[..COMPACT.len() - 1].to_string(),
            format!("\u{feff}{COMPACT}"),
            COMPACT.replace('{', r#"{"\ud800":1,"#),
            COMPACT.replace('{', "{\"note\":\"a\tb\","),
        ] {
            assert_eq!(refused(line.as_bytes()).1, "json", "{line}");
        }
        let mut not_utf8 = COMPACT.replace('{', "{\"note\":\"?\",").into_bytes();
        not_utf8[9] = 0xff;
        assert_eq!(
            refused(&not_utf8).2,
            "byte 9 is not UTF-8; a record is one JSON object"
        );
    }

    #[test]
    fn deep_nesting_in_an_unknown_field_uses_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let line = COMPACT.replace('{', &format!("{{\"note\":{deep},"));
        assert_eq!(read_record(line.as_bytes(), &Limits::none()), Ok(aapl()));
        assert_eq!(refused(line.replace("]]", "]").as_bytes()).1, "json");
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let line = with("stock_symbol", json!("Ä".repeat(1000)));
        let (_, rule, message) = refused(line.as_bytes());
        assert_eq!(rule, "symbol");
        assert!(message.len() < 200, "{message}");
    }

    #[test]
    fn a_number_too_long_to_be_kept_is_still_read() {
        let line = COMPACT.replace("187.25", &format!("187.25{}", "0".repeat(MAX_LINE_BYTES)));
        assert_eq!(
            read_line(line.as_bytes(), &Limits::none()),
            Ok(Reading {
                record: aapl(),
                usual: false
            })
        );
    }
}
