//! What a plugin says of itself, checked once and then believed: names, ranges and bounds hold.

mod params;

use serde::Serialize;
use utoipa::ToSchema;

pub use self::params::{FieldError, ParamInfo, ParamKind};
use super::bindings::{Columns, EventKinds, PluginDescription, PluginPlacement};

/// A plugin's own description.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// 1 to 64 characters from `a-z 0-9 -`, starting with a letter.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One line.
    pub help: String,
    /// In the order in which `configure` gets them.
    pub params: Vec<ParamInfo>,
    /// The columns that it reads.
    pub columns: Columns,
    /// The kinds of event that it reads.
    pub events: EventKinds,
    /// What it puts out at each tick.
    pub series: Vec<SeriesInfo>,
}

/// One output number a tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SeriesInfo {
    /// As in `values` of a signal.
    pub name: String,
    /// One line.
    pub help: String,
    /// Where a chart draws it.
    pub placement: Placement,
}

/// Where a chart draws a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Over the price.
    OverPrice,
    /// In a pane of its own.
    OwnPane,
}

/// A description that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("describe: {what} is {value:?}; {rule}")]
pub struct DescriptionError {
    what: String,
    value: String,
    rule: &'static str,
}

/// The longest name of a plugin, a parameter, a series or an option, in bytes.
const MAX_NAME_BYTES: usize = 64;
const MAX_PARAMS: usize = 64;
const MAX_SERIES: usize = 32;
const MAX_HELP_BYTES: usize = 300;

fn rule(
    holds: bool,
    what: impl Into<String>,
    value: impl ToString,
    rule: &'static str,
) -> Result<(), DescriptionError> {
    if holds {
        Ok(())
    } else {
        Err(DescriptionError {
            what: what.into(),
            value: value.to_string(),
            rule,
        })
    }
}

/// 1 to 64 characters from `a-z 0-9 -` (and `_` in parameters and series), starting with a letter.
fn is_name(name: &str, underscore: bool) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-') || underscore && b == b'_')
}

fn check_help(what: &str, help: &str) -> Result<(), DescriptionError> {
    let one_line = help.len() <= MAX_HELP_BYTES && !help.chars().any(char::is_control);
    let shown: String = help.chars().take(60).collect();
    rule(
        one_line,
        what,
        shown,
        "one line of at most 300 bytes is accepted",
    )
}

fn check_unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), DescriptionError> {
    for (n, name) in names.clone().enumerate() {
        let shown = name.chars().take(64).collect::<String>();
        rule(
            is_name(name, true),
            what,
            &shown,
            "1 to 64 characters from a-z 0-9 - _, starting with a letter",
        )?;
        rule(
            !names.clone().take(n).any(|other| other == name),
            what,
            &shown,
            "each name may stand once",
        )?;
    }
    Ok(())
}

impl TryFrom<PluginDescription> for Description {
    type Error = DescriptionError;

    fn try_from(said: PluginDescription) -> Result<Self, Self::Error> {
        let shown = said.name.chars().take(64).collect::<String>();
        rule(
            is_name(&said.name, false),
            "name",
            shown,
            "1 to 64 characters from a-z 0-9 -, starting with a letter",
        )?;
        let version: String = said.version.chars().take(64).collect();
        rule(
            semver::Version::parse(&said.version).is_ok(),
            "version",
            version,
            "a semantic version such as 1.2.3 is accepted",
        )?;
        check_help("help", &said.help)?;
        rule(
            said.params.len() <= MAX_PARAMS,
            "number of params",
            said.params.len(),
            "at most 64 are accepted",
        )?;
        rule(
            said.series.len() <= MAX_SERIES,
            "number of series",
            said.series.len(),
            "at most 32 are accepted",
        )?;
        check_unique("param", said.params.iter().map(|p| p.name.as_str()))?;
        check_unique("series", said.series.iter().map(|s| s.name.as_str()))?;
        let params = said
            .params
            .into_iter()
            .map(params::param)
            .collect::<Result<_, _>>()?;
        let series = said
            .series
            .into_iter()
            .map(|s| {
                check_help("help of a series", &s.help)?;
                let placement = match s.placement {
                    PluginPlacement::OverPrice => Placement::OverPrice,
                    PluginPlacement::OwnPane => Placement::OwnPane,
                };
                Ok(SeriesInfo {
                    name: s.name,
                    help: s.help,
                    placement,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name: said.name,
            version: said.version,
            help: said.help,
            params,
            columns: said.columns,
            events: said.events,
            series,
        })
    }
}
