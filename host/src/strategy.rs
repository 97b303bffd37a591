//! A strategy: a plugin with parameters, symbols and an input. Says what a definition must be; knows nothing of
//! where it is kept or run.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::bars::Interval;

/// The definition of a strategy, complete: names resolved, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// 1 to 64 characters from `a-z 0-9 . _ -`, starting with a letter or digit.
    pub id: String,
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component, lower-case hex.
    pub plugin_digest: String,
    /// All parameters.
    pub params: Map<String, Value>,
    /// SHA-256 of the JSON of `params`, keys sorted, lower-case hex.
    pub params_digest: String,
    /// Only these; all where there is none.
    pub symbols: Option<Vec<String>>,
    /// What it reads.
    pub input: Input,
    /// Values are put out at most once in this many milliseconds of the ticks' time; 0 is every tick.
    pub values_interval_ms: u32,
    /// Whether it runs.
    pub enabled: bool,
    /// Rises by one with each change.
    pub version: u64,
}

/// What a strategy reads: `"ticks"`, or `{"bars": "1m"}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Each tick.
    #[default]
    Ticks,
    /// Each bar of an interval, where a tick closes it.
    Bars(Interval),
}

impl Input {
    /// Where it is bars, of which interval.
    #[must_use]
    pub const fn interval(self) -> Option<Interval> {
        match self {
            Self::Ticks => None,
            Self::Bars(interval) => Some(interval),
        }
    }
}

impl fmt::Display for Input {
    /// As in the command line: `ticks`, `bars:1m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticks => f.write_str("ticks"),
            Self::Bars(interval) => write!(f, "bars:{}", interval.name()),
        }
    }
}

/// Text that is no input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("input is {0:?}; use ticks, or bars:1s, bars:1m, bars:5m, bars:1h or bars:1d")]
pub struct InputError(String);

impl FromStr for Input {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "ticks" {
            return Ok(Self::Ticks);
        }
        let interval = text.strip_prefix("bars:").and_then(|of| of.parse().ok());
        let interval = interval.ok_or_else(|| InputError(text.to_owned()))?;
        Ok(Self::Bars(interval))
    }
}

/// `values_interval_ms` where a definition gives none.
pub const DEFAULT_VALUES_INTERVAL_MS: u32 = 1000;

/// How the id of a shadow ends: no other id can.
const SHADOW: &str = "@shadow";

impl Strategy {
    /// The id under which the shadow of a strategy runs beside it.
    #[must_use]
    pub fn shadow_id(id: &str) -> String {
        format!("{id}{SHADOW}")
    }

    /// Whether it runs beside a live one, to be compared with it.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.id.ends_with(SHADOW)
    }

    /// The id that signals bear: a shadow's are those that it would put out in the live one's place.
    #[must_use]
    pub fn shown_id(&self) -> &str {
        self.id.strip_suffix(SHADOW).unwrap_or(&self.id)
    }

    /// Whether this text may be a strategy's id.
    #[must_use]
    pub fn is_id(text: &str) -> bool {
        (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }

    /// The digest of resolved parameters.
    #[must_use]
    pub fn digest_of(params: &Map<String, Value>) -> String {
        // The map is sorted by key, and numbers print in one way only.
        hex::encode(Sha256::digest(Value::Object(params.clone()).to_string()))
    }

    /// Whether an instance of `self` may go on as one of `other`: only what does not touch its results differs.
    #[must_use]
    pub fn runs_as(&self, other: &Self) -> bool {
        self.id == other.id && self.computes_as(other)
    }

    /// Whether the same ticks lead to the same results, whatever both are called.
    #[must_use]
    pub fn computes_as(&self, other: &Self) -> bool {
        let Self {
            plugin_digest,
            params_digest,
            symbols,
            input,
            values_interval_ms,
            ..
        } = self;
        *plugin_digest == other.plugin_digest
            && *params_digest == other.params_digest
            && *symbols == other.symbols
            && *input == other.input
            && *values_interval_ms == other.values_interval_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_read_back_as_written_in_json_and_on_the_command_line() {
        let of = |input: Input| (serde_json::to_string(&input).unwrap(), input.to_string());
        let minute = Input::Bars(Interval::Minute);
        assert_eq!(of(Input::Ticks), (r#""ticks""#.into(), "ticks".into()));
        assert_eq!(of(minute), (r#"{"bars":"1m"}"#.into(), "bars:1m".into()));
        for input in Interval::ALL
            .map(Input::Bars)
            .into_iter()
            .chain([Input::Ticks])
        {
            let (json, text) = of(input);
            assert_eq!(serde_json::from_str::<Input>(&json).unwrap(), input);
            assert_eq!(text.parse(), Ok(input));
        }
        for wrong in ["", "bars", "bars:", "bars:2m", "1m", "Ticks"] {
            let error = wrong.parse::<Input>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{wrong:?}")) && error.contains("bars:1m"),
                "{error}"
            );
        }
    }
}
