//! The fast reader of ticks as producers usually write them: this key order, compact or spaced as Python's
//! `json.dumps` does. It knows neither rules nor errors: for anything unusual it gives up, and the
//! reader that takes all JSON decides.

use std::borrow::Cow;

use super::{Tick, symbol_is_valid};

/// The tick of a line that has exactly the usual form. Its numbers are what serde_json would read, but none of the
/// rules for prices, volumes and times is checked.
pub(super) fn scan_tick(line: &[u8]) -> Option<Tick<'_>> {
    if let Some(rest) = line.strip_prefix(b"{\"stock_symbol\":\"") {
        scan::<false>(rest)
    } else {
        scan::<true>(line.strip_prefix(b"{\"stock_symbol\": \"")?)
    }
}

/// Goes on after the symbol's opening quote.
fn scan<const SPACED: bool>(line: &[u8]) -> Option<Tick<'_>> {
    macro_rules! number_of {
        ($name:literal, $rest:expr) => {{
            let rest = if SPACED {
                $rest.strip_prefix(concat!(", \"", $name, "\": ").as_bytes())?
            } else {
                $rest.strip_prefix(concat!(",\"", $name, "\":").as_bytes())?
            };
            scan_number(rest)?
        }};
    }

    let quote = line
        .iter()
        .take(super::Symbol::MAX_CHARS + 1)
        .position(|&byte| byte == b'"')?;
    let (symbol, rest) = (&line[..quote], &line[quote + 1..]);
    if !symbol_is_valid(symbol) {
        return None;
    }
    let (open, rest) = number_of!("opening_price", rest);
    let (close, rest) = number_of!("closing_price", rest);
    let (high, rest) = number_of!("high", rest);
    let (low, rest) = number_of!("low", rest);
    let (volume, rest) = number_of!("volume", rest);
    let (time, rest) = number_of!("timestamp", rest);
    if rest != b"}" {
        return None;
    }
    let symbol = Cow::Borrowed(str::from_utf8(symbol).ok()?);
    Some(Tick {
        symbol,
        time,
        open,
        high,
        low,
        close,
        volume,
    })
}

/// A longer number is left to the other reader, so that a line taken as it is has a bound.
const MAX_NUMBER_BYTES: usize = 32;

/// Reads an unsigned JSON number without exponent, correctly rounded, and gives the bytes after it.
fn scan_number(bytes: &[u8]) -> Option<(f64, &[u8])> {
    /// A mantissa up to 2^53 and a power of ten up to 10^22 are exact, so their quotient is rounded once.
    const MAX_EXACT_MANTISSA: u64 = 1 << 53;
    const POWERS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    ];
    /// So many digits cannot overflow the mantissa.
    const MAX_DIGITS: usize = 19;

    let mut mantissa = 0_u64;
    let whole = digits(bytes, &mut mantissa);
    if whole == 0 || (whole > 1 && bytes[0] == b'0') {
        return None;
    }
    let mut length = whole;
    let mut decimals = 0;
    if bytes.get(whole) == Some(&b'.') {
        decimals = digits(&bytes[whole + 1..], &mut mantissa);
        if decimals == 0 {
            return None;
        }
        length += 1 + decimals;
    }
    let rest = &bytes[length..];
    if matches!(rest.first(), Some(b'e' | b'E')) || length > MAX_NUMBER_BYTES {
        return None;
    }
    if whole + decimals <= MAX_DIGITS && mantissa <= MAX_EXACT_MANTISSA {
        return Some((mantissa as f64 / POWERS[decimals], rest));
    }
    let number = str::from_utf8(&bytes[..length]).ok()?.parse().ok()?;
    Some((number, rest))
}

/// Adds the leading digits to the mantissa, which wraps where there are too many, and counts them.
#[inline]
fn digits(bytes: &[u8], mantissa: &mut u64) -> usize {
    let mut count = 0;
    while let Some(digit) = bytes
        .get(count)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|&digit| digit < 10)
    {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    count
}
