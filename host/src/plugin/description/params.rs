//! The parameters of a plugin: what each accepts, and what a strategy's become.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Description, DescriptionError, MAX_NAME_BYTES, check_help, is_name, rule};
use crate::plugin::{
    bindings::{ParamValue, PluginParam, PluginParamKind},
    store::clean,
};

/// Unknown parameters that are told of a definition, and how much of a wrong value.
const MAX_UNKNOWN_TOLD: usize = 20;
const MAX_VALUE_TOLD_BYTES: usize = 100;

const MAX_OPTIONS: usize = 64;

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

/// A parameter that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field.
    pub field: String,
    /// Value and rule for a person.
    pub message: String,
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
            .take(MAX_UNKNOWN_TOLD)
        {
            let name = clean(name, MAX_NAME_BYTES);
            let it_has = match self.params.is_empty() {
                true => "none".to_owned(),
                false => known(),
            };
            let message = format!(
                "plugin {:?}: has no parameter {name:?}; it has {it_has}",
                self.name
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
                    let value = clean(&value.to_string(), MAX_VALUE_TOLD_BYTES);
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

    /// All parameters at their defaults.
    #[must_use]
    pub fn defaults(&self) -> Map<String, Value> {
        let of = |p: &ParamInfo| (p.name.clone(), p.default.clone());
        self.params.iter().map(of).collect()
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

pub(super) fn param(said: PluginParam) -> Result<ParamInfo, DescriptionError> {
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
                (1..=MAX_OPTIONS).contains(&c.options.len()),
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
