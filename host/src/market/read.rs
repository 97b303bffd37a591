//! Reads one record from JSON and holds it to the rules. What the fast scanner does not take is read by serde_json;
//! both give the same answer.

use std::{borrow::Cow, fmt, ops::RangeInclusive};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Kind, Limits, Record, Rejection, Side, Symbol, Tick, scan::scan_tick, symbol_is_valid,
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

/// Years 1 to 9999, the times that can be written as a date.
const TIMES: RangeInclusive<f64> = -62_135_596_800.0..=253_402_300_799.0;

const MAX_NAME_BYTES: usize = 64;

/// The rules of a scanned tick, without the words. [`Fields::tick`] has the words.
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

/// A field's name in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    DataType,
    Timestamp,
    StockSymbol,
    OpeningPrice,
    ClosingPrice,
    High,
    Low,
    Volume,
    OrderType,
    Price,
    Quantity,
    SentimentScore,
    SentimentMagnitude,
    MarketCap,
    PeRatio,
    IndicatorName,
    Value,
    #[serde(other)]
    Other,
}

impl Field {
    const KNOWN: usize = Self::Other as usize;

    const fn name(self) -> &'static str {
        match self {
            Self::DataType => "data_type",
            Self::Timestamp => "timestamp",
            Self::StockSymbol => "stock_symbol",
            Self::OpeningPrice => "opening_price",
            Self::ClosingPrice => "closing_price",
            Self::High => "high",
            Self::Low => "low",
            Self::Volume => "volume",
            Self::OrderType => "order_type",
            Self::Price => "price",
            Self::Quantity => "quantity",
            Self::SentimentScore => "sentiment_score",
            Self::SentimentMagnitude => "sentiment_magnitude",
            Self::MarketCap => "market_cap",
            Self::PeRatio => "pe_ratio",
            Self::IndicatorName => "indicator_name",
            Self::Value => "value",
            Self::Other => "",
        }
    }
}

/// The known fields of one object, unread: what they must be depends on the kind, which may come last.
#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a str>; Field::KNOWN],
    twice: [bool; Field::KNOWN],
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(field) = map.next_key::<Field>()? {
                    if field == Field::Other {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value: &RawValue = map.next_value()?;
                    fields.twice[field as usize] =
                        fields.values[field as usize].replace(value.get()).is_some();
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl<'a> Fields<'a> {
    fn record(&self) -> Result<Record<'a>, Rejection> {
        match self.kind()? {
            Kind::StockPrice => self.tick().map(Record::Tick),
            Kind::OrderBook => Ok(Record::OrderBook {
                symbol: self.symbol()?,
                side: self.side()?,
                price: self.price(Field::Price)?,
                quantity: self.not_negative(Field::Quantity, "quantities")?,
                time: self.time()?,
            }),
            Kind::NewsSentiment => Ok(Record::NewsSentiment {
                symbol: self.symbol()?,
                score: self.between(Field::SentimentScore, -1.0..=1.0)?,
                magnitude: self.between(Field::SentimentMagnitude, 0.0..=1.0)?,
                time: self.time()?,
            }),
            Kind::MarketData => Ok(Record::MarketData {
                symbol: self.symbol()?,
                market_cap: self.not_negative(Field::MarketCap, "market caps")?,
                pe_ratio: self.number(Field::PeRatio)?,
                time: self.time()?,
            }),
            Kind::EconomicIndicator => Ok(Record::EconomicIndicator {
                name: self.name()?,
                value: self.number(Field::Value)?,
                time: self.time()?,
            }),
        }
    }

    fn kind(&self) -> Result<Kind, Rejection> {
        let field = Field::DataType;
        if self.values[field as usize].is_none() {
            return Ok(Kind::StockPrice);
        }
        let name = self.text(field)?;
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let names = Kind::ALL.map(Kind::name).join(", ");
                self.refuse(
                    field,
                    "data_type",
                    &format!("use one of {names}, or leave it out for a stock_price"),
                )
            })
    }

    fn tick(&self) -> Result<Tick<'a>, Rejection> {
        let symbol = self.symbol()?;
        let open = self.price(Field::OpeningPrice)?;
        let close = self.price(Field::ClosingPrice)?;
        let high = self.price(Field::High)?;
        let low = self.price(Field::Low)?;
        if high < open.max(close) {
            let rule = format!("it must be at least the open, {open}, and the close, {close}");
            return Err(self.refuse(Field::High, "low_high", &rule));
        }
        if low > open.min(close) {
            let rule = format!("it must be at most the open, {open}, and the close, {close}");
            return Err(self.refuse(Field::Low, "low_high", &rule));
        }
        let volume = self.not_negative(Field::Volume, "volumes")?;
        Ok(Tick {
            symbol,
            time: self.time()?,
            open,
            high,
            low,
            close,
            volume,
        })
    }

    fn symbol(&self) -> Result<Cow<'a, str>, Rejection> {
        let symbol = self.text(Field::StockSymbol)?;
        if symbol_is_valid(symbol.as_bytes()) {
            return Ok(symbol);
        }
        let rule = format!(
            "use 1 to {} characters from A-Z 0-9 . - _",
            Symbol::MAX_CHARS
        );
        Err(self.refuse(Field::StockSymbol, "symbol", &rule))
    }

    fn name(&self) -> Result<Cow<'a, str>, Rejection> {
        let name = self.text(Field::IndicatorName)?;
        if (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control) {
            return Ok(name);
        }
        let rule = format!("use 1 to {MAX_NAME_BYTES} bytes without control characters");
        Err(self.refuse(Field::IndicatorName, "name", &rule))
    }

    fn side(&self) -> Result<Side, Rejection> {
        match self.text(Field::OrderType)?.as_ref() {
            "buy" => Ok(Side::Buy),
            "sell" => Ok(Side::Sell),
            _ => Err(self.refuse(Field::OrderType, "range", "use \"buy\" or \"sell\"")),
        }
    }

    fn time(&self) -> Result<f64, Rejection> {
        let time = self.number(Field::Timestamp)?;
        if TIMES.contains(&time) {
            return Ok(time);
        }
        Err(self.refuse(
            Field::Timestamp,
            "range",
            "use seconds since the epoch, within the years 1 to 9999",
        ))
    }

    fn price(&self, field: Field) -> Result<f64, Rejection> {
        let price = self.number(field)?;
        if price > 0.0 {
            Ok(price)
        } else {
            Err(self.refuse(field, "positive", "prices must be positive"))
        }
    }

    fn not_negative(&self, field: Field, what: &str) -> Result<f64, Rejection> {
        let number = self.number(field)?;
        if number >= 0.0 {
            return Ok(number);
        }
        Err(self.refuse(field, "non_negative", &format!("{what} must be 0 or more")))
    }

    fn between(&self, field: Field, range: RangeInclusive<f64>) -> Result<f64, Rejection> {
        let number = self.number(field)?;
        if range.contains(&number) {
            return Ok(number);
        }
        Err(self.refuse(
            field,
            "range",
            &format!("it must be {} to {}", range.start(), range.end()),
        ))
    }

    /// A finite number, correctly rounded.
    fn number(&self, field: Field) -> Result<f64, Rejection> {
        let raw = self.given(field)?;
        // JSON's numbers are a part of what `parse` takes; no other JSON begins as they do.
        let number: f64 = match raw.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => raw.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| self.refuse(field, "type", "it must be a number"))?;
        if number.is_finite() {
            Ok(number)
        } else {
            Err(self.refuse(field, "finite", "numbers must be finite"))
        }
    }

    fn text(&self, field: Field) -> Result<Cow<'a, str>, Rejection> {
        let raw = self.given(field)?;
        match raw
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            None => Err(self.refuse(field, "type", "it must be a string")),
            Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
            Some(_) => serde_json::from_str(raw)
                .map(Cow::Owned)
                .map_err(|error| self.refuse(field, "json", &format!("that is not JSON: {error}"))),
        }
    }

    fn given(&self, field: Field) -> Result<&'a str, Rejection> {
        let name = field.name();
        let refuse = |rule, message| {
            Err(Rejection {
                field: name.into(),
                rule,
                message,
            })
        };
        match self.values[field as usize] {
            None => refuse(
                "required",
                format!("{name} is missing; a {} needs it", self.kind()?),
            ),
            Some(_) if self.twice[field as usize] => {
                refuse("duplicate", format!("{name} is given twice; give it once"))
            }
            Some(raw) => Ok(raw),
        }
    }

    /// `closing_price is -1.5; prices must be positive`.
    fn refuse(&self, field: Field, rule: &'static str, what_to_do: &str) -> Rejection {
        let raw = self.values[field as usize].unwrap_or_default();
        let name = field.name();
        Rejection {
            field: name.into(),
            rule,
            message: format!("{name} is {}; {what_to_do}", Shown(raw)),
        }
    }
}

/// A JSON value for a message: verbatim, but in one line and not long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_BYTES: usize = 64;
        match self.0.as_bytes().first() {
            Some(b'[') => f.write_str("an array"),
            Some(b'{') => f.write_str("an object"),
            _ if self.0.len() <= MAX_BYTES => f.write_str(self.0),
            _ => write!(f, "{}…", &self.0[..self.0.floor_char_boundary(MAX_BYTES)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::market::MAX_LINE_BYTES;

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

    /// What serde_json itself makes of a tick: the reference.
    #[derive(Deserialize)]
    struct Reference<'a> {
        #[serde(borrow)]
        stock_symbol: Cow<'a, str>,
        opening_price: f64,
        closing_price: f64,
        high: f64,
        low: f64,
        volume: f64,
        timestamp: f64,
    }

    /// The reference's tick, where it keeps the rules.
    fn reference(line: &[u8]) -> Option<[u64; 6]> {
        let text = str::from_utf8(line).ok()?;
        let r: Reference<'_> = serde_json::from_str(text).ok()?;
        let prices = [r.opening_price, r.closing_price, r.high, r.low];
        let good = symbol_is_valid(r.stock_symbol.as_bytes())
            && prices.iter().all(|p| p.is_finite() && *p > 0.0)
            && r.low <= r.opening_price.min(r.closing_price)
            && r.high >= r.opening_price.max(r.closing_price)
            && r.volume.is_finite()
            && r.volume >= 0.0
            && (-62_135_596_800.0..=253_402_300_799.0).contains(&r.timestamp);
        let numbers = [
            r.opening_price,
            r.closing_price,
            r.high,
            r.low,
            r.volume,
            r.timestamp,
        ];
        good.then(|| numbers.map(f64::to_bits))
    }

    fn ours(line: &[u8]) -> Option<[u64; 6]> {
        match read_record(line, &Limits::none()) {
            Ok(Record::Tick(t)) => {
                Some([t.open, t.close, t.high, t.low, t.volume, t.time].map(f64::to_bits))
            }
            _ => None,
        }
    }

    /// Numbers as text: plain, long, tiny, huge, with exponents, and broken.
    fn number_texts() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => (1_u32..1_000_000, 0_u32..7).prop_map(|(n, d)| format!("{:.*}", d as usize, f64::from(n) / 100.0)),
            4 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| json!(x.abs()).to_string()),
            2 => any::<u64>().prop_map(|n| n.to_string()),
            2 => "[0-9]{1,25}(\\.[0-9]{1,25})?",
            1 => "-?[0-9]{0,4}(\\.[0-9]{0,4})?([eE][+-]?[0-9]{0,4})?",
            1 => Just("9007199254740993".to_string()),
            1 => Just("0.1000000000000000055511151231257827021181583404541015625".to_string()),
            1 => Just("null".to_string()),
        ]
    }

    /// Lines of the usual form, their prices in an order that often keeps the rules.
    fn lines() -> impl Strategy<Value = String> {
        (
            "[A-Z]{1,17}",
            [
                number_texts(),
                number_texts(),
                number_texts(),
                number_texts(),
                number_texts(),
                number_texts(),
            ],
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(symbol, [a, b, c, d, volume, time], sorted, spaced)| {
                let mut prices = [a, b, c, d];
                if sorted {
                    prices.sort_by(|x, y| {
                        let value = |s: &str| s.parse::<f64>().unwrap_or_default();
                        value(x).total_cmp(&value(y))
                    });
                }
                let [low, open, close, high] = prices;
                let (comma, colon) = if spaced { (", ", ": ") } else { (",", ":") };
                let pairs = [
                    ("opening_price", open),
                    ("closing_price", close),
                    ("high", high),
                    ("low", low),
                    ("volume", volume),
                    ("timestamp", time),
                ];
                let rest: String = pairs
                    .iter()
                    .map(|(name, value)| format!("{comma}\"{name}\"{colon}{value}"))
                    .collect();
                format!("{{\"stock_symbol\"{colon}\"{symbol}\"{rest}}}")
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn a_tick_reads_as_serde_json_reads_it(line in lines()) {
            prop_assert_eq!(ours(line.as_bytes()), reference(line.as_bytes()), "{}", line);
        }

        #[test]
        fn a_mutated_tick_reads_as_serde_json_reads_it(
            line in lines(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop_oneof![
                any::<u8>(), prop::sample::select(b"0123456789.eE+-\" ,:{}[]\\ntu\t\r\n".to_vec()),
            ]), 1..4),
        ) {
            let mut bytes = line.into_bytes();
            for (at, how, byte) in changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => { bytes.remove(at); }
                }
            }
            prop_assert_eq!(ours(&bytes), reference(&bytes), "{}", String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_is_kept_as_it_came_is_short_and_reads_back(line in lines()) {
            if let Ok(Reading { usual: true, .. }) = read_line(line.as_bytes(), &Limits::none()) {
                prop_assert!(line.len() <= MAX_LINE_BYTES);
                prop_assert!(scan_tick(line.as_bytes()).is_some());
            }
        }
    }
}
