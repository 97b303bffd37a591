//! What a plugin says of itself, checked once and then believed: names, ranges and bounds hold.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::bindings::{
    Columns, EventKinds, ParamValue, PluginDescription, PluginParam, PluginParamKind,
    PluginPlacement,
};

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

/// A parameter of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ParamInfo {
    /// As in `params` of a strategy.
    pub name: String,
    /// One line.
    pub help: String,
    /// What it accepts.
    pub kind: ParamKind,
    /// What it is when it is not given.
    #[schema(value_type = Object)]
    pub default: Value,
    /// The least value of a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub min: Option<Value>,
    /// The greatest value of a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub max: Option<Value>,
    /// The words of a choice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// What a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParamKind {
    /// A whole number.
    Integer,
    /// A finite number.
    Number,
    /// True or false.
    Boolean,
    /// One of some words.
    Choice,
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

/// A parameter that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field.
    pub field: String,
    /// Value and rule for a person.
    pub message: String,
}

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
    (1..=64).contains(&name.len())
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
            .map(param)
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

fn param(said: PluginParam) -> Result<ParamInfo, DescriptionError> {
    let PluginParam { name, help, kind } = said;
    check_help("help of a param", &help)?;
    let what = |part: &str| format!("{part} of param {name:?}");
    let (kind, default, min, max, options) = match kind {
        PluginParamKind::Integer(r) => {
            rule(
                r.min <= r.max,
                what("range"),
                format!("{}..{}", r.min, r.max),
                "min must not be above max",
            )?;
            rule(
                (r.min..=r.max).contains(&r.default),
                what("default"),
                r.default,
                "it must be in the range",
            )?;
            (
                ParamKind::Integer,
                r.default.into(),
                Some(r.min.into()),
                Some(r.max.into()),
                vec![],
            )
        }
        PluginParamKind::Number(r) => {
            let finite = r.min.is_finite() && r.max.is_finite() && r.min <= r.max;
            rule(
                finite,
                what("range"),
                format!("{}..{}", r.min, r.max),
                "it must be finite, min not above max",
            )?;
            rule(
                (r.min..=r.max).contains(&r.default),
                what("default"),
                r.default,
                "it must be in the range",
            )?;
            (
                ParamKind::Number,
                r.default.into(),
                Some(r.min.into()),
                Some(r.max.into()),
                vec![],
            )
        }
        PluginParamKind::Boolean(default) => {
            (ParamKind::Boolean, default.into(), None, None, vec![])
        }
        PluginParamKind::Choice(c) => {
            rule(
                (1..=64).contains(&c.options.len()),
                what("options"),
                c.options.len(),
                "1 to 64 are accepted",
            )?;
            for option in &c.options {
                rule(
                    is_name(option, true),
                    what("option"),
                    option.chars().take(64).collect::<String>(),
                    "1 to 64 characters from a-z 0-9 - _, starting with a letter",
                )?;
            }
            rule(
                c.options.contains(&c.default),
                what("default"),
                c.default.chars().take(64).collect::<String>(),
                "it must be one of the options",
            )?;
            (ParamKind::Choice, c.default.into(), None, None, c.options)
        }
    };
    Ok(ParamInfo {
        name,
        help,
        kind,
        default,
        min,
        max,
        options,
    })
}

impl Description {
    /// All parameters, in order: given ones checked, the others at their defaults.
    ///
    /// # Errors
    /// Each wrong one, by name.
    pub fn resolve(
        &self,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Vec<FieldError>> {
        let mut errors = Vec::new();
        let known = || {
            self.params
                .iter()
                .map(|p| p.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        for name in given
            .keys()
            .filter(|n| !self.params.iter().any(|p| p.name == **n))
        {
            let message = format!(
                "plugin {:?}: has no parameter {name:?}; it has {}",
                self.name,
                known()
            );
            errors.push(FieldError {
                field: format!("params.{name}"),
                message,
            });
        }
        let mut resolved = Map::new();
        for param in &self.params {
            match param.accept(given.get(&param.name)) {
                Ok(value) => {
                    resolved.insert(param.name.clone(), value);
                }
                Err(rule) => {
                    let value = given.get(&param.name).unwrap_or(&Value::Null);
                    let message = format!(
                        "plugin {:?}: parameter {:?} is {value}; {rule}",
                        self.name, param.name
                    );
                    errors.push(FieldError {
                        field: format!("params.{}", param.name),
                        message,
                    });
                }
            }
        }
        if errors.is_empty() {
            Ok(resolved)
        } else {
            Err(errors)
        }
    }

    /// Resolved parameters as `configure` takes them.
    #[must_use]
    pub fn arguments<'a>(
        &'a self,
        resolved: &'a Map<String, Value>,
    ) -> Vec<(&'a str, ParamValue<'a>)> {
        let value = |p: &'a ParamInfo| {
            let value = resolved.get(&p.name).unwrap_or(&p.default);
            match p.kind {
                ParamKind::Integer => ParamValue::Integer(value.as_i64().unwrap_or_default()),
                ParamKind::Number => ParamValue::Number(value.as_f64().unwrap_or_default()),
                ParamKind::Boolean => ParamValue::Boolean(value.as_bool().unwrap_or_default()),
                ParamKind::Choice => ParamValue::Text(value.as_str().unwrap_or_default()),
            }
        };
        self.params
            .iter()
            .map(|p| (p.name.as_str(), value(p)))
            .collect()
    }
}

impl ParamInfo {
    /// The value that a given one becomes, or the rule that it breaks.
    fn accept(&self, given: Option<&Value>) -> Result<Value, String> {
        let Some(given) = given else {
            return Ok(self.default.clone());
        };
        let bound = |b: &Option<Value>| b.clone().unwrap_or_default();
        let (min, max) = (bound(&self.min), bound(&self.max));
        match self.kind {
            ParamKind::Integer => {
                // 20.0 is a whole number too.
                let whole = given.as_i64().or_else(|| {
                    given
                        .as_f64()
                        .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
                        .map(|f| f as i64)
                });
                let in_range = |n: &i64| min.as_i64() <= Some(*n) && Some(*n) <= max.as_i64();
                let rule = || format!("use a whole number from {min} to {max}");
                whole.filter(in_range).map(Value::from).ok_or_else(rule)
            }
            ParamKind::Number => {
                let in_range = |n: &f64| min.as_f64() <= Some(*n) && Some(*n) <= max.as_f64();
                let rule = || format!("use a number from {min} to {max}");
                given
                    .as_f64()
                    .filter(in_range)
                    .map(Value::from)
                    .ok_or_else(rule)
            }
            ParamKind::Boolean => given
                .as_bool()
                .map(Value::from)
                .ok_or_else(|| "use true or false".to_owned()),
            ParamKind::Choice => given
                .as_str()
                .filter(|s| self.options.iter().any(|o| o == s))
                .map(Value::from)
                .ok_or_else(|| format!("use one of {}", self.options.join(", "))),
        }
    }
}
