//! Parameters: declared once as a struct, described for forms, and read with the rule that was declared.

use std::fmt;
use std::ops::RangeInclusive;

use crate::{Param, ParamKind};

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A word.
    Text(String),
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value:?}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
        }
    }
}

impl From<i64> for ParamValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for ParamValue {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<bool> for ParamValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<&str> for ParamValue {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

/// A parameter that cannot be accepted. Reads `parameter "period" is 0; use 1 or more`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamError {
    /// The parameter.
    pub name: String,
    /// What it is and the rule that it breaks, to be read after the name: `is 0; use 1 or more`.
    pub message: String,
}

impl ParamError {
    /// An error that names a parameter; the message is read after the name.
    pub fn new(name: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            name: name.into(),
            message: message.to_string(),
        }
    }

    /// Names the parameter of an error: `Sma::try_new(period).map_err(ParamError::of("period"))`.
    pub fn of<E: fmt::Display>(name: &str) -> impl FnOnce(E) -> Self {
        move |error| Self::new(name, error)
    }
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parameter {:?} {}", self.name, self.message)
    }
}

impl std::error::Error for ParamError {}

/// The parameters of a strategy. [`params!`](crate::params!) implements it.
pub trait Params: Sized {
    /// What they are called and accept, in order.
    fn describe() -> Vec<Param>;

    /// Reads all of them, in any order.
    ///
    /// # Errors
    ///
    /// One for each that is missing, unknown, of another type, or out of range.
    fn read(values: &[(String, ParamValue)]) -> Result<Self, Vec<ParamError>>;
}

/// What a parameter of type `T` accepts: a range for numbers, words and what they mean for a choice.
pub trait Rule<T> {
    /// The rule as data.
    fn kind(&self, default: T) -> ParamKind;

    /// The value, if it keeps the rule; else the rule, to be read after "is VALUE; use".
    fn read(&self, value: &ParamValue) -> Result<T, String>;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Rule<$integer> for RangeInclusive<$integer> {
            fn kind(&self, default: $integer) -> ParamKind {
                let (default, min, max) = (default.into(), (*self.start()).into(), (*self.end()).into());
                ParamKind::Integer { default, min, max }
            }

            fn read(&self, value: &ParamValue) -> Result<$integer, String> {
                match value {
                    ParamValue::Integer(value) => <$integer>::try_from(*value).ok().filter(|value| self.contains(value)),
                    _ => None,
                }
                .ok_or_else(|| format!("a whole number from {} to {}", self.start(), self.end()))
            }
        }
    )*};
}

integers!(u32, i64);

impl Rule<f64> for RangeInclusive<f64> {
    fn kind(&self, default: f64) -> ParamKind {
        ParamKind::Number {
            default,
            min: *self.start(),
            max: *self.end(),
        }
    }

    fn read(&self, value: &ParamValue) -> Result<f64, String> {
        match value {
            ParamValue::Number(value) if self.contains(value) => Ok(*value),
            _ => Err(format!("a number from {} to {}", self.start(), self.end())),
        }
    }
}

/// The rule of a `bool`, which needs none.
#[derive(Debug, Clone, Copy)]
pub struct AnyBoolean;

impl Rule<bool> for AnyBoolean {
    fn kind(&self, default: bool) -> ParamKind {
        ParamKind::Boolean { default }
    }

    fn read(&self, value: &ParamValue) -> Result<bool, String> {
        match value {
            ParamValue::Boolean(value) => Ok(*value),
            _ => Err("true or false".into()),
        }
    }
}

/// Words, and what each means.
impl<T: Clone + PartialEq, const N: usize> Rule<T> for [(&str, T); N] {
    /// # Panics
    ///
    /// Where no word means the default.
    fn kind(&self, default: T) -> ParamKind {
        let (word, _) = self
            .iter()
            .find(|(_, value)| *value == default)
            .expect("the default is one of the options");
        ParamKind::Choice {
            default: (*word).into(),
            options: self.iter().map(|(word, _)| (*word).into()).collect(),
        }
    }

    fn read(&self, value: &ParamValue) -> Result<T, String> {
        match value {
            ParamValue::Text(text) => self.iter().find(|(word, _)| word == text),
            _ => None,
        }
        .map(|(_, value)| value.clone())
        .ok_or_else(|| {
            let words: Vec<_> = self.iter().map(|(word, _)| format!("{word:?}")).collect();
            words.join(" or ")
        })
    }
}

/// Declares the parameters of a strategy as a struct: `name: type = default, rule;` with the help as its comment.
///
/// The type is `u32` or `i64` or `f64` with a range, `bool` without a rule, or any other with the words of a choice and
/// what they mean.
///
/// ```
/// #[derive(Clone, PartialEq)]
/// pub enum Seed { First, Mean }
///
/// wigwag_plugin::params! {
///     /// All of them.
///     pub struct Params {
///         /// Ticks in the average.
///         pub period: u32 = 20, 1..=10_000;
///         /// The distance that counts.
///         pub distance: f64 = 0.5, 0.0..=1.0;
///         /// Whether falls count too.
///         pub both: bool = true;
///         /// What the average starts from.
///         pub seed: Seed = Seed::First, [("first", Seed::First), ("mean", Seed::Mean)];
///     }
/// }
///
/// use wigwag_plugin::Params as _;
/// assert_eq!(Params::describe()[0].help, "Ticks in the average.");
/// ```
#[macro_export]
macro_rules! params {
    (
        $(#[$meta:meta])*
        $vis:vis struct $params:ident {
            $(
                $(#[doc = $help:literal])*
                $field_vis:vis $field:ident: $type:ty = $default:expr $(, $rule:expr)?;
            )*
        }
    ) => {
        $(#[$meta])*
        $vis struct $params {
            $($(#[doc = $help])* $field_vis $field: $type,)*
        }

        impl $crate::Params for $params {
            fn describe() -> ::std::vec::Vec<$crate::Param> {
                ::std::vec![$($crate::Param {
                    name: ::core::stringify!($field),
                    help: ::core::concat!($($help),*).trim().into(),
                    kind: $crate::Rule::<$type>::kind(&$crate::params!(@rule $($rule)?), $default),
                }),*]
            }

            fn read(
                values: &[(::std::string::String, $crate::ParamValue)],
            ) -> ::core::result::Result<Self, ::std::vec::Vec<$crate::ParamError>> {
                let mut reader = $crate::private::Reader::new(values);
                $(let $field = reader.read::<$type>(::core::stringify!($field), &$crate::params!(@rule $($rule)?));)*
                reader.finish(&[$(::core::stringify!($field)),*])?;
                match ($($field,)*) {
                    ($(::core::option::Option::Some($field),)*) => ::core::result::Result::Ok(Self { $($field),* }),
                    _ => ::core::unreachable!("the reader has told what is missing"),
                }
            }
        }
    };
    (@rule) => { $crate::AnyBoolean };
    (@rule $rule:expr) => { $rule };
}

/// Reads parameters one by one, and collects what is wrong with them.
#[doc(hidden)]
#[derive(Debug)]
pub struct Reader<'a> {
    values: &'a [(String, ParamValue)],
    errors: Vec<ParamError>,
}

impl<'a> Reader<'a> {
    /// A reader of these values.
    pub fn new(values: &'a [(String, ParamValue)]) -> Self {
        Self {
            values,
            errors: Vec::new(),
        }
    }

    /// The parameter of that name, if it is there and keeps the rule.
    pub fn read<T>(&mut self, name: &str, rule: &impl Rule<T>) -> Option<T> {
        let Some((_, value)) = self.values.iter().find(|(given, _)| given == name) else {
            self.errors
                .push(ParamError::new(name, "is missing; give it a value"));
            return None;
        };
        rule.read(value)
            .map_err(|rule| {
                self.errors.push(ParamError::new(
                    name,
                    format_args!("is {value}; use {rule}"),
                ))
            })
            .ok()
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// All that was wrong, and each value whose name is none of these.
    pub fn finish(mut self, names: &[&str]) -> Result<(), Vec<ParamError>> {
        for (given, _) in self.values {
            if !names.contains(&given.as_str()) {
                let message = format!("is unknown; there are {}", names.join(", "));
                self.errors.push(ParamError::new(given, message));
            }
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(self.errors)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Seed {
        First,
        Mean,
    }

    crate::params! {
        #[derive(Debug, PartialEq)]
        struct All {
            /// Ticks in the average.
            period: u32 = 20, 1..=100;
            /// The distance that counts,
            /// in percent.
            distance: f64 = 0.5, 0.0..=1.0;
            both: bool = true;
            /// What it starts from.
            seed: Seed = Seed::First, [("first", Seed::First), ("mean", Seed::Mean)];
        }
    }

    fn read(values: &[(&str, ParamValue)]) -> Result<All, Vec<String>> {
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect();
        All::read(&values).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_declaration_describes_itself() {
        let described: Vec<_> = All::describe()
            .into_iter()
            .map(|param| (param.name, param.help, param.kind))
            .collect();
        let choice = ParamKind::Choice {
            default: "first".into(),
            options: vec!["first".into(), "mean".into()],
        };
        assert_eq!(
            described,
            [
                (
                    "period",
                    "Ticks in the average.".into(),
                    ParamKind::Integer {
                        default: 20,
                        min: 1,
                        max: 100
                    }
                ),
                (
                    "distance",
                    "The distance that counts, in percent.".to_string(),
                    ParamKind::Number {
                        default: 0.5,
                        min: 0.0,
                        max: 1.0
                    }
                ),
                ("both", String::new(), ParamKind::Boolean { default: true }),
                ("seed", "What it starts from.".into(), choice),
            ]
        );
    }

    #[test]
    fn values_within_the_rules_are_read_in_any_order() {
        let all = read(&[
            ("seed", "mean".into()),
            ("both", false.into()),
            ("period", 100.into()),
            ("distance", 0.0.into()),
        ]);
        assert_eq!(
            all,
            Ok(All {
                period: 100,
                distance: 0.0,
                both: false,
                seed: Seed::Mean
            })
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_value_and_rule() {
        let errors = read(&[
            ("period", 0.into()),
            ("distance", f64::NAN.into()),
            ("both", 1.into()),
            ("seed", "last".into()),
            ("speed", 3.into()),
        ]);
        assert_eq!(
            errors.unwrap_err(),
            [
                r#"parameter "period" is 0; use a whole number from 1 to 100"#,
                r#"parameter "distance" is NaN; use a number from 0 to 1"#,
                r#"parameter "both" is 1; use true or false"#,
                r#"parameter "seed" is "last"; use "first" or "mean""#,
                r#"parameter "speed" is unknown; there are period, distance, both, seed"#,
            ]
        );
        assert_eq!(
            read(&[]).unwrap_err()[0],
            r#"parameter "period" is missing; give it a value"#
        );
    }

    #[test]
    fn a_whole_number_beyond_its_type_is_out_of_range_and_does_not_wrap() {
        let rule = 1..=100u32;
        assert!(Rule::read(&rule, &ParamValue::Integer((1 << 32) + 5)).is_err());
        assert!(Rule::read(&rule, &ParamValue::Integer(-1)).is_err());
    }
}
