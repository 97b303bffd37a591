//! Requests' bodies, bounded in size and time, and the query of a request: read by their types, refused by the name of
//! what is wrong.

use std::{io::Read, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::timeout;

use super::problem::{
    BAD_QUERY, BAD_REQUEST, NOT_JSON, Problem, REFUSED, TIMEOUT, TOO_LARGE, UNSUPPORTED,
};
use crate::{market::Symbol, plugin::FieldError};

/// How long a definition or a token may take to arrive.
const JSON_WITHIN: Duration = Duration::from_secs(10);

/// Definitions and tokens are small.
const MAX_JSON_BYTES: usize = 1 << 20;

/// How much of a body that is refused is still read, and for how long.
const LINGER_BYTES: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// Unpacking more than this would hold up the other tasks of an async thread.
const UNPACK_HERE_BYTES: usize = 32 << 10;

/// Reads a body of at most `limit` bytes, both as sent and unpacked, that has `within` to arrive.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    within: Duration,
) -> Result<Bytes, Problem> {
    let packed = is_gzip(headers)?;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let mut stream = body.into_data_stream();
    let collected = match announced.is_some_and(|bytes: u64| bytes > limit as u64) {
        true => Ok(None),
        false => timeout(within, collect(&mut stream, limit)).await,
    };
    let collected = collected.map_err(|_| {
        let seconds = within.as_secs_f64();
        Problem::new(
            TIMEOUT,
            format!("the body did not arrive within {seconds} s"),
        )
    })?;
    let Some(body) = collected.transpose()? else {
        // Who asks first sends nothing more.
        if !headers.contains_key(header::EXPECT) {
            let _ = timeout(LINGER, linger(&mut stream)).await;
        }
        return Err(too_large(limit));
    };
    if !packed {
        return Ok(body);
    }
    if body.len() <= UNPACK_HERE_BYTES {
        return unpack(&body, limit);
    }
    super::blocking(move || unpack(&body, limit)).await
}

/// Lets a client send what it is sending: where the connection is closed meanwhile, the answer is lost with it.
async fn linger(stream: &mut BodyDataStream) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(part)) = stream.next().await {
        match left.checked_sub(part.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// The whole body; none where it is larger.
async fn collect(stream: &mut BodyDataStream, limit: usize) -> Option<Result<Bytes, Problem>> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(part) = stream.next().await {
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                let detail = format!("the body broke off: {error}");
                return Some(Err(Problem::new(BAD_REQUEST, detail)));
            }
        };
        let read = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if read + part.len() > limit {
            return None;
        }
        match &first {
            None if rest.is_empty() => first = Some(part),
            _ => {
                if let Some(first) = first.take() {
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&part);
            }
        }
    }
    // Most bodies come in one part, which then needs no copy.
    Some(Ok(first.unwrap_or_else(|| rest.freeze())))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(false);
    };
    match encoding.as_bytes().to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" => Ok(true),
        b"identity" | b"" => Ok(false),
        other => {
            let other = String::from_utf8_lossy(other);
            let detail = format!("Content-Encoding is {other:?}; use gzip or none");
            Err(Problem::new(UNSUPPORTED, detail)
                .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")))
        }
    }
}

fn unpack(packed: &[u8], limit: usize) -> Result<Bytes, Problem> {
    let mut unpacked = Vec::with_capacity(packed.len().saturating_mul(4).min(limit));
    MultiGzDecoder::new(packed)
        .take(limit as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| Problem::new(BAD_REQUEST, format!("the body is not gzip: {error}")))?;
    if unpacked.len() > limit {
        return Err(too_large(limit));
    }
    Ok(unpacked.into())
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        TOO_LARGE,
        format!("the body has more than {limit} bytes; send it in smaller parts"),
    )
}

/// Refuses a body of another content type than these. None at all, and the one that `curl` sends when it is told
/// nothing, are taken for what is expected.
pub(super) fn check_content_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let value = value.to_str().unwrap_or("?");
    let essence = value.split(';').next().unwrap_or_default().trim();
    let told_nothing = "application/x-www-form-urlencoded";
    if accepted
        .iter()
        .chain([&told_nothing])
        .any(|accepted| essence.eq_ignore_ascii_case(accepted))
    {
        return Ok(());
    }
    let accepted = accepted.join(", ");
    Err(Problem::new(
        UNSUPPORTED,
        format!("Content-Type is {value:?}; use one of {accepted}"),
    ))
}

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_content_type(&parts.headers, &["application/json"])?;
        let body = read_body(&parts.headers, body, MAX_JSON_BYTES, JSON_WITHIN).await?;
        let mut json = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            let error = error.into_inner();
            if error.is_data() {
                refused_field(REFUSED, &field, &error.to_string())
            } else {
                Problem::new(NOT_JSON, format!("the body is not JSON: {error}"))
            }
        })?;
        json.end()
            .map_err(|error| Problem::new(NOT_JSON, format!("the body is not JSON: {error}")))?;
        Ok(Self(value))
    }
}

/// The parameters of a request's query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
            .map(Self)
            .map_err(|error| {
                let field = error.path().to_string();
                refused_field(BAD_QUERY, &field, &error.into_inner().to_string())
            })
    }
}

fn refused_field(
    kind: (&'static str, &'static str, axum::http::StatusCode),
    field: &str,
    message: &str,
) -> Problem {
    // Of the whole, serde says "."; an error that names its field already need not be told it again.
    let field = if field == "." { "" } else { field };
    let detail = if field.is_empty() || message.contains(field) {
        message.to_owned()
    } else {
        format!("{field}: {message}")
    };
    let error = FieldError {
        field: field.to_owned(),
        message: message.to_owned(),
    };
    Problem::new(kind, detail).with("errors", [error])
}

/// The query of a route that has no parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// How many items a list has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub(super) usize);

impl Limit {
    const MAX: usize = 1_000;
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(limit @ 1..=Self::MAX) => Ok(Self(limit)),
            _ => Err(serde::de::Error::custom(format!(
                "limit is {text:?}; use a whole number from 1 to {}",
                Self::MAX
            ))),
        }
    }
}

/// A time, seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Since(pub(super) f64);

impl<'de> Deserialize<'de> for Since {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        time("since", deserializer).map(Self)
    }
}

/// The time at which something ends, seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Until(pub(super) f64);

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        time("until", deserializer).map(Self)
    }
}

fn time<'de, D: Deserializer<'de>>(name: &str, deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let seconds = text.parse().ok().filter(|s: &f64| s.is_finite());
    seconds.or_else(|| rfc3339(&text)).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{name} is {text:?}; use seconds since the epoch or a time as 2026-01-31T12:00:00Z"
        ))
    })
}

/// Seconds since the epoch of a time as RFC 3339 writes it.
fn rfc3339(text: &str) -> Option<f64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let number = |text: &str, digits: usize, range: std::ops::RangeInclusive<i64>| {
        let good = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
        let number = good.then(|| text.parse().ok()).flatten()?;
        range.contains(&number).then_some(number)
    };
    let mut date = date.splitn(3, '-');
    let year = number(date.next()?, 4, 0..=9999)?;
    let month = number(date.next()?, 2, 1..=12)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let day = number(date.next()?, 2, 1..=days)?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let (time, fraction) = match time.split_once('.') {
        Some((time, digits))
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (time, format!("0.{digits}").parse().ok()?)
        }
        Some(_) => return None,
        None => (time, 0.0),
    };
    let mut time = time.splitn(3, ':');
    let hour = number(time.next()?, 2, 0..=23)?;
    let minute = number(time.next()?, 2, 0..=59)?;
    // A leap second is the first of the next minute, as in the epoch's own count.
    let second = number(time.next()?, 2, 0..=60)?;
    let ahead_s = match zone.as_bytes().first()? {
        b'Z' | b'z' => (zone.len() == 1).then_some(0)?,
        sign => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let ahead = number(hours, 2, 0..=23)? * 3600 + number(minutes, 2, 0..=59)? * 60;
            if *sign == b'-' { -ahead } else { ahead }
        }
    };
    // Days since the epoch in the civil calendar, years beginning in March (Hinnant, "chrono-compatible low-level
    // date algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - ahead_s;
    #[expect(
        clippy::cast_precision_loss,
        reason = "years up to 9999 are below 2^53 seconds"
    )]
    Some(seconds as f64 + fraction)
}

/// A symbol in a query or path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SymbolParam(pub(super) String);

impl<'de> Deserialize<'de> for SymbolParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Symbol::parse(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(serde::de::Error::custom(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2026-01-31T12:00:00Z", 1_769_860_800.0),
            ("2026-01-31T13:30:00.25+01:30", 1_769_860_800.25),
            ("2026-01-31t04:00:00-08:00", 1_769_860_800.0),
            ("2000-02-29T23:59:59z", 951_868_799.0),
            ("1969-12-31T23:59:59Z", -1.0),
        ] {
            assert_eq!(rfc3339(text), Some(seconds), "{text}");
        }
        for wrong in [
            "",
            "2026-01-31",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00+1:00",
            "+026-01-31T12:00:00Z",
        ] {
            assert_eq!(rfc3339(wrong), None, "{wrong}");
        }
    }
}
