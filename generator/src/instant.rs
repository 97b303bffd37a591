//! Instants as text: RFC 3339, its usual relaxations, and seconds since the epoch. Does not read the clock.

use thiserror::Error;

/// Microseconds in a second.
pub const SECOND_US: i64 = 1_000_000;
/// Microseconds in a day.
pub const DAY_US: i64 = 86_400 * SECOND_US;

/// The last instant that is taken for seconds: the end of the year 9999. Greater numbers are milliseconds or finer.
const MAX_SECONDS: f64 = 253_402_300_799.0;

/// Why a text is not an instant.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InstantError {
    /// A number that can be no seconds.
    #[error(
        "{0} is out of range; use seconds since the epoch, 0 to 253402300799 (milliseconds must be divided by 1000)"
    )]
    Range(String),
    /// Neither a number nor a date.
    #[error(
        "{0:?} is no time; use seconds since the epoch or RFC 3339 such as 2026-01-05T14:30:00Z"
    )]
    Shape(String),
}

/// Reads an instant as microseconds since the epoch: `1767623400.5`, `2026-01-05`, `2026-01-05 14:30`,
/// `2026-01-05T14:30:00.5+01:00`. Without a zone it is UTC; digits beyond microseconds are dropped.
///
/// # Errors
/// When the text is neither, or lies outside of 1970 to 9999.
pub fn parse_us(text: &str) -> Result<i64, InstantError> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return from_seconds(seconds).ok_or_else(|| InstantError::Range(text.to_owned()));
    }
    let us = from_iso(text).ok_or_else(|| InstantError::Shape(text.to_owned()))?;
    if us < 0 {
        Err(InstantError::Range(text.to_owned()))
    } else {
        Ok(us)
    }
}

/// Microseconds of a number of seconds, when it lies in 1970 to 9999.
pub fn from_seconds(seconds: f64) -> Option<i64> {
    (0.0..=MAX_SECONDS)
        .contains(&seconds)
        .then(|| (seconds * SECOND_US as f64).round() as i64)
}

fn from_iso(text: &str) -> Option<i64> {
    if !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let day_us = days_since_epoch(date)? * DAY_US;
    let Some(clock) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then_some(day_us);
    };
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    Some(day_us + time_of_day_us(clock.trim_end())? - zone_us(zone)?)
}

/// Days from 1970-01-01 to `YYYY-MM-DD`, by Howard Hinnant's `days_from_civil`.
fn days_since_epoch(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (y, m, d) = (
        digits(parts.next()?, 4)?,
        digits(parts.next()?, 2)?,
        digits(parts.next()?, 2)?,
    );
    let leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let month_days = [
        31,
        28 + i64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    if parts.next().is_some()
        || !(1..=12).contains(&m)
        || !(1..=month_days[(m - 1) as usize]).contains(&d)
    {
        return None;
    }
    let y = if m <= 2 { y - 1 } else { y };
    let (era, year_of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let day_of_year = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Microseconds from midnight to `HH:MM[:SS[.fraction]]`. A leap second counts as the first of the next minute.
fn time_of_day_us(clock: &str) -> Option<i64> {
    let mut parts = clock.split(':');
    let (h, m) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let (s, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (digits(seconds, 2)?, 0),
            Some((s, fraction)) => {
                digits(fraction, fraction.len())?;
                (digits(s, 2)?, format!("{fraction:0<6}")[..6].parse().ok()?)
            }
        },
    };
    let in_range = h <= 23 && m <= 59 && s <= 60 && parts.next().is_none();
    in_range.then_some(((h * 60 + m) * 60 + s) * SECOND_US + fraction)
}

fn zone_us(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, offset) = if let Some(east) = zone.strip_prefix('+') {
        (1, east)
    } else {
        (-1, zone.strip_prefix('-')?)
    };
    let (h, m) = offset
        .split_once(':')
        .or_else(|| offset.split_at_checked(2))?;
    let (h, m) = (digits(h, 2)?, if m.is_empty() { 0 } else { digits(m, 2)? });
    (h <= 23 && m <= 59).then_some(sign * (h * 60 + m) * 60 * SECOND_US)
}

/// Exactly `n` decimal digits (at most 18, so that they fit).
fn digits(text: &str, n: usize) -> Option<i64> {
    let all =
        !text.is_empty() && text.len() == n && n <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_shapes_mean_the_same_instant() {
        // `date -u -d 2026-01-05T14:30:00Z +%s` says 1767623400.
        for text in [
            "1767623400",
            "1767623400.0",
            "2026-01-05T14:30:00Z",
            "2026-01-05t14:30:00z",
            "2026-01-05 14:30:00",
            "2026-01-05 14:30",
            "2026-01-05T15:30:00+01:00",
            "2026-01-05T09:30:00-0500",
            "2026-01-05 09:30:00.000000000-05",
        ] {
            assert_eq!(parse_us(text), Ok(1_767_623_400 * SECOND_US), "{text}");
        }
        assert_eq!(parse_us("2026-01-05"), Ok(1_767_571_200 * SECOND_US));
        assert_eq!(
            parse_us("2024-02-29T00:00:00.25Z"),
            Ok(1_709_164_800_250_000)
        );
        assert_eq!(parse_us("1.0000019"), Ok(1_000_002));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-1-5",
            "2026-13-01",
            "2026-02-29",
            "2025-00-10",
            "2026-01-05T24:00:00Z",
            "2026-01-05T10",
            "2026-01-05T10:00:00.Z",
            "2026-01-05T10:00:00+1",
            "2026-01-05X10:00:00",
            "2026-01-05T10:00:00Zjunk",
            "2026-01-05é",
            "+5-01-01",
        ] {
            assert_eq!(
                parse_us(text),
                Err(InstantError::Shape(text.to_owned())),
                "{text}"
            );
        }
        for text in ["-1", "NaN", "inf", "1767623400000", "1969-12-31"] {
            assert_eq!(
                parse_us(text),
                Err(InstantError::Range(text.to_owned())),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn each_day_follows_the_one_before(day in 0i64..2_932_896) {
            // Dates are walked day by day from the parser's own answer for the first of the month.
            let (y, m) = (1970 + day / 372, day / 31 % 12 + 1);
            if y <= 9999 {
                let first = days_since_epoch(&format!("{y:04}-{m:02}-01")).unwrap();
                let (next_y, next_m) = if m == 12 { (y + 1, 1) } else { (y, m + 1) };
                let length = (28..=31).rev().find(|d| days_since_epoch(&format!("{y:04}-{m:02}-{d:02}")).is_some()).unwrap();
                if next_y <= 9999 {
                    prop_assert_eq!(days_since_epoch(&format!("{next_y:04}-{next_m:02}-01")).unwrap(), first + length);
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = parse_us(&text);
        }
    }
}
