//! Recorded market data from a file: CSV (ticks) or NDJSON (all kinds), in the order of the file; or from several files in
//! the order of time.
//!
//! Column and field names are those of our records or the usual other ones, in upper or lower case. A record
//! that breaks a rule ends the replay with an error that names line, field and rule; what came before it stands.

mod header;
mod merge;

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use thiserror::Error;

use self::header::Header;
pub use self::merge::Merge;
use crate::{
    instant::{self, InstantError},
    record::{Body, Breach, Kind, Record, Side, Tick},
    symbol::{Symbol, SymbolError},
};

/// The names by which a field of a tick may go, ours first.
type Names = &'static [&'static str];

const TIME: Names = &["timestamp", "time", "datetime", "date", "ts"];
const SYMBOL: Names = &["stock_symbol", "symbol", "ticker", "name"];
const OPEN: Names = &["opening_price", "open"];
const HIGH: Names = &["high", "high_price"];
const LOW: Names = &["low", "low_price"];
const CLOSE: Names = &["closing_price", "close", "close/last"];
const VOLUME: Names = &["volume", "vol"];

/// The records of a file.
pub struct Replay {
    path: PathBuf,
    /// The symbol of ticks that name none.
    symbol: Option<Symbol>,
    lines: Lines,
    failed: bool,
}

/// Why a replay ends early. Lines are counted from 1.
#[derive(Debug, Error)]
#[error("{path} line {line}: {problem}", path = .path.display())]
pub struct ReplayError {
    path: PathBuf,
    line: u64,
    problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the file has no records")]
    Empty,
    #[error("begins with '['; write one record a line, without brackets and commas between them")]
    Array,
    #[error("{0}; write one JSON object a line")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Csv(#[from] csv::Error),
    #[error("has no field for {0:?}; name it {names}", names = .1.join(" or "))]
    Missing(&'static str, Names),
    #[error(
        "the file has no column for the symbol; name it {}, name the file by its symbol such as AAPL.csv, or say which symbol it is with --symbols",
        SYMBOL.join(" or ")
    )]
    NoSymbol,
    #[error("field {0:?} is {1}; it must be a finite number")]
    NotANumber(&'static str, String),
    #[error("field {0:?} is {1}; it must be a text")]
    NotAText(&'static str, String),
    #[error(
        "field \"data_type\" is {0}; use stock_price, order_book, news_sentiment, market_data or economic_indicator"
    )]
    Kind(String),
    #[error("field \"order_type\" is {0:?}; use buy or sell")]
    Side(String),
    #[error("field {0:?}: {1}")]
    Time(&'static str, InstantError),
    #[error("field \"stock_symbol\": {0}")]
    Symbol(#[from] SymbolError),
    #[error("field {0}")]
    Rule(#[from] Breach),
}

enum Lines {
    Csv {
        rows: Box<csv::Reader<BufReader<File>>>,
        header: Header,
        row: csv::StringRecord,
    },
    Ndjson {
        lines: BufReader<File>,
        line: Vec<u8>,
        number: u64,
    },
}

impl Replay {
    /// Opens a file. Ticks that name no symbol are of `symbol`, or of the one by which the file is named.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or is CSV without the columns of a tick.
    pub fn open(path: &Path, symbol: Option<Symbol>) -> Result<Self, ReplayError> {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let symbol = symbol.or_else(|| Symbol::parse(stem?).ok());
        let lines = open_lines(path, symbol).map_err(|problem| ReplayError {
            path: path.into(),
            line: 1,
            problem,
        })?;
        Ok(Self {
            path: path.into(),
            symbol,
            lines,
            failed: false,
        })
    }

    fn read(&mut self) -> Result<Option<Record>, Problem> {
        let symbol = self.symbol;
        match &mut self.lines {
            Lines::Csv { rows, header, row } => loop {
                if !rows.read_record(row)? {
                    return Ok(None);
                }
                if let Some(tick) = header.tick(row, symbol)? {
                    return Ok(Some(tick));
                }
            },
            Lines::Ndjson {
                lines,
                line,
                number,
            } => loop {
                line.clear();
                if lines.read_until(b'\n', line)? == 0 {
                    return Ok(None);
                }
                *number += 1;
                if !line.trim_ascii().is_empty() {
                    return Fields(serde_json::from_slice(line)?)
                        .record(symbol)
                        .map(Some);
                }
            },
        }
    }

    fn line(&self) -> u64 {
        match &self.lines {
            Lines::Csv { rows, row, .. } => row.position().unwrap_or(rows.position()).line(),
            Lines::Ndjson { number, .. } => *number,
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Record, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read().and_then(|record| {
            record
                .map(|r| r.check().map(|()| r))
                .transpose()
                .map_err(Problem::from)
        });
        read.map_err(|problem| {
            self.failed = true;
            ReplayError {
                path: self.path.clone(),
                line: self.line(),
                problem,
            }
        })
        .transpose()
    }
}

fn open_lines(path: &Path, symbol: Option<Symbol>) -> Result<Lines, Problem> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let start = file.fill_buf()?;
    let bom = start.starts_with(b"\xef\xbb\xbf");
    let first = start[if bom { 3 } else { 0 }..]
        .iter()
        .copied()
        .find(|b| !b.is_ascii_whitespace());
    if bom {
        file.consume(3);
    }
    match first {
        None => Err(Problem::Empty),
        Some(b'[') => Err(Problem::Array),
        Some(b'{') => Ok(Lines::Ndjson {
            lines: file,
            line: Vec::new(),
            number: 0,
        }),
        Some(_) => {
            let mut rows = Box::new(
                csv::ReaderBuilder::new()
                    .trim(csv::Trim::All)
                    .from_reader(file),
            );
            let header = Header::find(rows.headers()?, symbol)?;
            Ok(Lines::Csv {
                rows,
                header,
                row: csv::StringRecord::new(),
            })
        }
    }
}

/// The fields of a JSON object.
struct Fields(Map<String, Value>);

impl Fields {
    fn record(&self, symbol: Option<Symbol>) -> Result<Record, Problem> {
        let kind = match self.0.get("data_type") {
            None => Kind::StockPrice,
            Some(Value::String(name)) => clap::ValueEnum::from_str(name, false)
                .map_err(|_| Problem::Kind(format!("{name:?}")))?,
            Some(other) => return Err(Problem::Kind(other.to_string())),
        };
        let symbol = || match symbol {
            Some(symbol) if self.find(SYMBOL).is_none() => Ok(symbol),
            _ => Symbol::parse(&self.text(SYMBOL)?).map_err(Problem::from),
        };
        let body = match kind {
            Kind::StockPrice => Body::Tick(Tick {
                symbol: symbol()?,
                open: self.number(OPEN)?,
                high: self.number(HIGH)?,
                low: self.number(LOW)?,
                close: self.number(CLOSE)?,
                volume: self.number(VOLUME)?,
            }),
            Kind::OrderBook => Body::Order {
                symbol: symbol()?,
                side: match &*self.text(&["order_type"])? {
                    "buy" => Side::Buy,
                    "sell" => Side::Sell,
                    other => return Err(Problem::Side(other.to_owned())),
                },
                price: self.number(&["price"])?,
                quantity: self.number(&["quantity"])?,
            },
            Kind::NewsSentiment => Body::News {
                symbol: symbol()?,
                score: self.number(&["sentiment_score"])?,
                magnitude: self.number(&["sentiment_magnitude"])?,
            },
            Kind::MarketData => Body::Fundamentals {
                symbol: symbol()?,
                market_cap: self.number(&["market_cap"])?,
                pe_ratio: self.number(&["pe_ratio"])?,
            },
            Kind::EconomicIndicator => Body::Economic {
                name: self.text(&["indicator_name"])?.into_owned().into(),
                value: self.number(&["value"])?,
            },
        };
        let time_us = match self.need(TIME)? {
            Value::String(text) => time_us(text)?,
            other => time_us(&other.to_string())?,
        };
        Ok(Record { time_us, body })
    }

    fn find(&self, names: Names) -> Option<&Value> {
        names.iter().find_map(|name| self.0.get(*name)).or_else(|| {
            let same = |key: &str| names.iter().any(|name| key.eq_ignore_ascii_case(name));
            self.0
                .iter()
                .find(|(key, _)| same(key))
                .map(|(_, value)| value)
        })
    }

    fn need(&self, names: Names) -> Result<&Value, Problem> {
        self.find(names).ok_or(Problem::Missing(names[0], names))
    }

    fn text(&self, names: Names) -> Result<Cow<'_, str>, Problem> {
        match self.need(names)? {
            Value::String(text) => Ok(text.as_str().into()),
            other => Err(Problem::NotAText(names[0], other.to_string())),
        }
    }

    fn number(&self, names: Names) -> Result<f64, Problem> {
        match self.need(names)? {
            Value::Number(value) => value
                .as_f64()
                .ok_or_else(|| Problem::NotANumber(names[0], value.to_string())),
            // Some exchanges write prices as text, so as to keep their decimals.
            Value::String(text) => number(names[0], text),
            other => Err(Problem::NotANumber(names[0], other.to_string())),
        }
    }
}

fn number(field: &'static str, text: &str) -> Result<f64, Problem> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(Problem::NotANumber(field, format!("{text:?}"))),
    }
}

fn time_us(text: &str) -> Result<i64, Problem> {
    instant::parse_us(text).map_err(|error| Problem::Time(TIME[0], error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    pub(super) fn replay(content: &str, symbol: Option<&str>) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ticks");
        fs::write(&path, content).unwrap();
        let symbol = symbol.map(|name| Symbol::parse(name).unwrap());
        let read =
            Replay::open(&path, symbol).and_then(|replay| replay.collect::<Result<Vec<_>, _>>());
        let text = |record: Record| {
            let mut json = Vec::new();
            record.write_json(&mut json);
            String::from_utf8(json).unwrap()
        };
        let strip =
            |error: ReplayError| error.to_string().split_once(" line ").unwrap().1.to_owned();
        read.map(|records| records.into_iter().map(text).collect())
            .map_err(strip)
    }

    pub(super) const TICK: &str = r#"{"stock_symbol":"AAPL","opening_price":190.0,"closing_price":191.25,"high":192.0,"low":189.123456789,"volume":1000,"timestamp":1767623400.0}"#;

    #[test]
    fn ndjson_of_all_kinds_is_read_and_written_as_it_was() {
        let lines = [
            TICK,
            r#"{"data_type":"order_book","timestamp":1767623400.5,"stock_symbol":"AAPL","order_type":"buy","price":190.5,"quantity":10}"#,
            r#"{"data_type":"news_sentiment","timestamp":1767623400.5,"stock_symbol":"AAPL","sentiment_score":-1.0,"sentiment_magnitude":0.5}"#,
            r#"{"data_type":"market_data","timestamp":1767623400.5,"stock_symbol":"AAPL","market_cap":3.0e+20,"pe_ratio":-4.5}"#,
            r#"{"data_type":"economic_indicator","timestamp":1767623400.5,"indicator_name":"gdp","value":2.123456}"#,
        ];
        let same: Vec<String> = lines
            .iter()
            .map(|line| line.replace("3.0e+20", "3e+20"))
            .collect();
        assert_eq!(replay(&lines.join("\n\n"), None).unwrap(), same);
        let other_names = r#"{"data_type":"stock_price","ticker":"AAPL","time":"2026-01-05T14:30:00Z","Open":"190","high":192,"low":189.123456789,"close":191.25,"volume":1000,"more":[1]}"#;
        assert_eq!(replay(other_names, None).unwrap(), [TICK]);
    }

    #[test]
    fn what_is_wrong_is_told_with_line_field_and_rule() {
        let csv = |rows: &str| {
            replay(
                &format!("time,symbol,open,high,low,close,volume\n{rows}"),
                None,
            )
            .unwrap_err()
        };
        assert_eq!(
            csv("1,A,1,1,1,1,1\n2,A,1,1,1,-1.5,1\n"),
            "3: field closing_price is -1.5; prices must be positive"
        );
        assert_eq!(
            csv("1,A,1,x,1,1,1\n"),
            "2: field \"high\" is \"x\"; it must be a finite number"
        );
        assert_eq!(
            csv("1,A,1,NaN,1,1,1\n"),
            "2: field \"high\" is \"NaN\"; it must be a finite number"
        );
        assert!(csv("1,A,1,2,1.5,1.7,1\n").starts_with("2: field low is 1.5; it must be at most"));
        assert!(
            csv("soon,A,1,1,1,1,1\n")
                .starts_with("2: field \"timestamp\": \"soon\" is no time; use seconds")
        );
        assert!(
            csv("1767623400000,A,1,1,1,1,1\n").contains("milliseconds must be divided by 1000")
        );
        assert!(
            csv("1,aapl,1,1,1,1,1\n")
                .starts_with("2: field \"stock_symbol\": symbol \"aapl\" contains 'a'")
        );
        assert!(
            csv("1,A,1,1,1,1\n").starts_with("2: "),
            "{}",
            csv("1,A,1,1,1,1\n")
        );
        let head = |head: &str| replay(head, None).unwrap_err();
        assert_eq!(
            head("time,symbol,open,high,low,volume\n"),
            "1: has no field for \"closing_price\"; name it closing_price or close or close/last"
        );
        assert!(
            head("time,open,high,low,close,volume\n")
                .contains("or say which symbol it is with --symbols")
        );
        assert!(head("[{}]").contains("begins with '['"));
        assert_eq!(head(" \n"), "1: the file has no records");
        let json = |line: &str| replay(&format!("{TICK}\n\n{line}\n"), None).unwrap_err();
        assert!(
            json("{\"a\":").starts_with("3: EOF while parsing"),
            "{}",
            json("{\"a\":")
        );
        assert!(json("{}").starts_with("3: has no field for \"stock_symbol\""));
        assert_eq!(
            json(&TICK.replace("\"AAPL\"", "7")),
            "3: field \"stock_symbol\" is 7; it must be a text"
        );
        assert_eq!(
            json(&TICK.replace("192.0", "null")),
            "3: field \"high\" is null; it must be a finite number"
        );
        assert!(
            json(r#"{"data_type":"tick"}"#)
                .starts_with("3: field \"data_type\" is \"tick\"; use stock_price")
        );
        let order = r#"{"data_type":"order_book","timestamp":1,"stock_symbol":"A","order_type":"hold","price":1,"quantity":1}"#;
        assert_eq!(
            json(order),
            "3: field \"order_type\" is \"hold\"; use buy or sell"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Replay::open(Path::new("/nowhere/ticks.csv"), None)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("/nowhere/ticks.csv line 1: No such file"),
            "{error}"
        );
    }
}
