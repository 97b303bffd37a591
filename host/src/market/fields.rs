//! One JSON object as a record: which fields its kind has, what each must be, and what to tell a producer who sends
//! something else.

use std::{borrow::Cow, fmt, ops::RangeInclusive};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Kind, Record, Rejection, Side, Symbol, Tick, symbol_is_valid};

/// Years 1 to 9999, the times that can be written as a date.
pub(super) const TIMES: RangeInclusive<f64> = -62_135_596_800.0..=253_402_300_799.0;

const MAX_NAME_BYTES: usize = 64;

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
pub(super) struct Fields<'a> {
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
    /// The record, where it keeps every rule; otherwise the first that it breaks.
    pub(super) fn record(&self) -> Result<Record<'a>, Rejection> {
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
pub(super) struct Shown<'a>(pub(super) &'a str);

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
