//! What is traded: the newtype, and the list that `--symbols` names. Knows no prices.

use std::{fmt, str};

use thiserror::Error;

/// The five symbols of every simulated market, first in the list.
const NAMED: [&str; 5] = ["AAPL", "GOOGL", "AMZN", "MSFT", "TSLA"];

/// A symbol keeps about 3 kB of walk at hand; this many stay under 300 MB.
const MAX_SYMBOLS: usize = 100_000;

/// A symbol: 1 to 16 characters from `A-Z 0-9 . - _`, held in place so that records are cheap to copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol {
    padded: [u8; Symbol::MAX_CHARS],
    len: u8,
}

/// Why a text is not a symbol, or not a list of them.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SymbolError {
    /// The text is empty or too long.
    #[error("symbol {0:?} has {len} characters; use 1 to 16", len = .0.chars().count())]
    Length(String),
    /// A character outside the alphabet.
    #[error("symbol {0:?} contains {1:?}; use A-Z, 0-9, '.', '-' and '_'")]
    Character(String, char),
    /// A symbol is listed twice.
    #[error("symbol {0:?} is listed twice")]
    Twice(String),
    /// A number of symbols out of range.
    #[error("the number of symbols is {0}; use 1 to 100000, or names separated by commas")]
    Number(String),
}

impl Symbol {
    /// The longest symbol, in characters.
    pub const MAX_CHARS: usize = 16;

    /// Reads a symbol.
    ///
    /// # Errors
    /// When the text is empty, longer than [`Symbol::MAX_CHARS`], or has a character outside the alphabet.
    pub fn parse(text: &str) -> Result<Self, SymbolError> {
        let allowed = |c: char| matches!(c, 'A'..='Z' | '0'..='9' | '.' | '-' | '_');
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(SymbolError::Character(text.to_owned(), bad));
        }
        if text.is_empty() || text.len() > Self::MAX_CHARS {
            return Err(SymbolError::Length(text.to_owned()));
        }
        let mut padded = [0; Self::MAX_CHARS];
        padded[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            padded,
            len: text.len() as u8,
        })
    }

    /// The symbol as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("a symbol is ASCII")
    }

    /// The symbol as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.padded[..usize::from(self.len)]
    }

    /// The symbol filled up with zeros: different for different symbols.
    pub(crate) fn padded(&self) -> [u8; Self::MAX_CHARS] {
        self.padded
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The symbols of a market, in the order in which they tick; never empty, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbols(Vec<Symbol>);

impl Symbols {
    /// Reads a number of symbols (the five well-known ones first, then `S0005`, `S0006`, …) or names separated by
    /// commas.
    ///
    /// # Errors
    /// When the number is out of range, or a name is no symbol or is there twice.
    pub fn parse(text: &str) -> Result<Self, SymbolError> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse() {
                Ok(n @ 1..=MAX_SYMBOLS) => (0..n).map(nth).collect::<Result<_, _>>().map(Self),
                _ => Err(SymbolError::Number(text.to_owned())),
            };
        }
        let symbols = text
            .split(',')
            .map(Symbol::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let mut sorted = symbols.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(SymbolError::Twice(pair[0].to_string())),
            None if symbols.len() > MAX_SYMBOLS => {
                Err(SymbolError::Number(symbols.len().to_string()))
            }
            None => Ok(Self(symbols)),
        }
    }

    /// The symbols in order.
    pub fn as_slice(&self) -> &[Symbol] {
        &self.0
    }
}

fn nth(n: usize) -> Result<Symbol, SymbolError> {
    match NAMED.get(n) {
        Some(name) => Symbol::parse(name),
        None => Symbol::parse(&format!("S{n:04}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        Symbols::parse(text)
            .unwrap()
            .as_slice()
            .iter()
            .map(Symbol::to_string)
            .collect()
    }

    #[test]
    fn a_number_gives_the_five_and_then_numbered_names() {
        assert_eq!(names("2"), ["AAPL", "GOOGL"]);
        assert_eq!(names("7")[3..], ["MSFT", "TSLA", "S0005", "S0006"]);
        assert_eq!(names("100000")[99_999], "S99999");
    }

    #[test]
    fn names_keep_their_order() {
        assert_eq!(names("TSLA,BRK.B,X-1_2"), ["TSLA", "BRK.B", "X-1_2"]);
    }

    #[test]
    fn what_is_refused_is_named() {
        let refused = |text| Symbols::parse(text).unwrap_err().to_string();
        assert_eq!(
            refused("0"),
            "the number of symbols is 0; use 1 to 100000, or names separated by commas"
        );
        assert!(refused("100001").contains("100001"));
        assert!(refused("99999999999999999999999").contains("99999999999999999999999"));
        assert_eq!(
            refused("AAPL,aapl"),
            "symbol \"aapl\" contains 'a'; use A-Z, 0-9, '.', '-' and '_'"
        );
        assert_eq!(
            refused("AAPL,,B"),
            "symbol \"\" has 0 characters; use 1 to 16"
        );
        assert_eq!(
            refused("ABCDEFGHIJKLMNOPQ"),
            "symbol \"ABCDEFGHIJKLMNOPQ\" has 17 characters; use 1 to 16"
        );
        assert_eq!(refused("A,B,A"), "symbol \"A\" is listed twice");
        assert!(refused("").contains("0 characters"));
    }
}
