//! What a receiver reads: the signal itself in an envelope, or a line for people as Slack and those like it take it.

use std::borrow::Cow;

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::definition::Format;
use crate::{market::Side, signal::Signal};

/// What of a signal decides whether a webhook wants it.
#[derive(Debug, Deserialize)]
pub(super) struct Heading<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) strategy: Cow<'a, str>,
    pub(super) side: Side,
}

/// The body for a signal: the same at each attempt. What is no signal of ours goes as it is.
pub(super) fn render(format: Format, signal_json: &str) -> Vec<u8> {
    let Ok(signal) = serde_json::from_str::<Signal>(signal_json) else {
        return signal_json.as_bytes().to_vec();
    };
    match format {
        Format::Standard => {
            let time = rfc3339(signal.timestamp);
            format!(r#"{{"type":"signal","timestamp":"{time}","data":{signal_json}}}"#).into_bytes()
        }
        Format::Slack => {
            let text = serde_json::json!({ "text": line(&signal) });
            text.to_string().into_bytes()
        }
    }
}

/// `*BUY* AAPL at 187.2: close crossed above its average (ema-20, strength 0.5)`
fn line(signal: &Signal) -> String {
    let side = match signal.side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    };
    let symbol = escape(&signal.symbol);
    let (price, strength) = (signal.price, signal.strength);
    let (reason, strategy) = (escape(&signal.reason), escape(&signal.strategy));
    format!("*{side}* {symbol} at {price}: {reason} ({strategy}, strength {strength})")
}

/// Slack reads these three as the beginnings of its own marks, such as `<!channel>`.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn rfc3339(time_s: f64) -> String {
    let nanos = (time_s * 1e6).round() as i128 * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNAL: &str = r#"{"schema":1,"id":"ema-20:0:5:0:0","strategy":"ema-20","plugin":"ema","plugin_digest":"d","params_digest":"p","symbol":"AAPL","side":"buy","strength":0.5,"price":187.2,"timestamp":1700000000.25,"reason":"a < b & <!channel>","values":{"ema":187.0},"partition":0,"offset":5,"row":0,"n":0}"#;

    #[test]
    fn the_envelope_holds_the_signals_own_bytes() {
        let body = String::from_utf8(render(Format::Standard, SIGNAL)).unwrap();
        let wanted =
            format!(r#"{{"type":"signal","timestamp":"2023-11-14T22:13:20.25Z","data":{SIGNAL}}}"#);
        assert_eq!(body, wanted);
    }

    #[test]
    fn no_reason_of_a_plugin_calls_a_channel() {
        let body: serde_json::Value =
            serde_json::from_slice(&render(Format::Slack, SIGNAL)).unwrap();
        assert_eq!(
            body["text"],
            "*BUY* AAPL at 187.2: a &lt; b &amp; &lt;!channel&gt; (ema-20, strength 0.5)"
        );
    }

    #[test]
    fn a_heading_is_read_from_a_signal() {
        let heading: Heading<'_> = serde_json::from_str(SIGNAL).unwrap();
        assert_eq!((&*heading.id, &*heading.symbol), ("ema-20:0:5:0:0", "AAPL"));
        assert_eq!((&*heading.strategy, heading.side), ("ema-20", Side::Buy));
    }
}
