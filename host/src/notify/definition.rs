//! A webhook: where signals go, which ones, and in which form. Checked in full before it is kept: all that is wrong is
//! told at once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::Heading,
    target::{Targets, parse_url},
};
use crate::{
    log::Offset,
    market::{Side, Symbol},
    plugin::FieldError,
    strategy::Strategy,
};

/// The most that a filter may name.
const MAX_NAMES: usize = 1_000;

/// The longest description.
const MAX_DESCRIPTION_CHARS: usize = 200;

/// What a receiver reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `{"type": "signal", "timestamp": ..., "data": SIGNAL}`, as Standard Webhooks advises.
    #[default]
    Standard,
    /// `{"text": ...}`, for Slack and receivers like it.
    Slack,
}

/// What a client wants a webhook to be.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where to: http or https, to a public address or into a network that the operator allows.
    pub url: String,
    /// What it is for, in words, at most 200 characters.
    #[serde(default)]
    pub description: String,
    /// What the receiver reads.
    #[serde(default)]
    pub format: Format,
    /// Only signals on these symbols; left out for all.
    #[serde(default)]
    pub symbols: Option<Vec<String>>,
    /// Only signals of these strategies; left out for all.
    #[serde(default)]
    pub strategies: Option<Vec<String>>,
    /// Only this side; left out for both.
    #[serde(default)]
    pub side: Option<Side>,
    /// Whether anything is sent. What is committed while it is not is never sent.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

/// A webhook as it stands in the topic `webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Webhook {
    pub(super) id: String,
    pub(super) url: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) format: Format,
    /// Sorted, as `strategies`.
    pub(super) symbols: Option<Vec<String>>,
    pub(super) strategies: Option<Vec<String>>,
    pub(super) side: Option<Side>,
    pub(super) enabled: bool,
    /// In the clear: to sign, it must be known.
    pub(super) secret: String,
    /// Rises by one with each change.
    pub(super) version: u64,
    /// The version with which it last began: defined, or enabled again.
    pub(super) epoch: u64,
    /// By partition of `signals`, the end when it last began.
    pub(super) since: Vec<Offset>,
    /// When it was defined, milliseconds since the epoch.
    pub(super) created_ms: i64,
}

impl Webhook {
    /// Whether a signal passes the filters.
    pub(super) fn wants(&self, heading: &Heading<'_>) -> bool {
        let holds = |names: &Option<Vec<String>>, name: &str| {
            let found = |names: &Vec<String>| names.binary_search_by(|n| (**n).cmp(name)).is_ok();
            names.as_ref().is_none_or(found)
        };
        self.side.is_none_or(|side| side == heading.side)
            && holds(&self.symbols, &heading.symbol)
            && holds(&self.strategies, &heading.strategy)
    }
}

/// A request that has been checked: the address in its one notation, the filters sorted.
pub(super) async fn check(
    mut request: WebhookRequest,
    targets: &Targets,
) -> Result<WebhookRequest, Vec<FieldError>> {
    let mut errors = Vec::new();
    match parse_url(&request.url) {
        Ok(url) => {
            let (host, port) = (url.host_str(), url.port_or_known_default());
            let resolved = targets.resolve(host.unwrap_or_default(), port.unwrap_or(443));
            if let Err(error) = resolved.await {
                errors.push(wrong("url", format!("url: {error}")));
            }
            request.url = url.into();
        }
        Err(error) => errors.push(wrong("url", error.to_string())),
    }
    let chars = request.description.chars().count();
    if chars > MAX_DESCRIPTION_CHARS {
        let rule =
            format!("description has {chars} characters; use at most {MAX_DESCRIPTION_CHARS}");
        errors.push(wrong("description", rule));
    }
    check_names("symbols", &mut request.symbols, &mut errors, |symbol| {
        Symbol::parse(symbol).err().map(|error| error.to_string())
    });
    check_names("strategies", &mut request.strategies, &mut errors, |id| {
        let rule = "use 1 to 64 characters from a-z 0-9 . _ -, the first a letter or digit";
        (!Strategy::is_id(id)).then(|| format!("strategies holds {id:?}; {rule}"))
    });
    match errors.is_empty() {
        true => Ok(request),
        false => Err(errors),
    }
}

fn check_names(
    field: &str,
    names: &mut Option<Vec<String>>,
    errors: &mut Vec<FieldError>,
    refuse: impl Fn(&str) -> Option<String>,
) {
    let Some(names) = names else { return };
    if !(1..=MAX_NAMES).contains(&names.len()) {
        let given = names.len();
        let rule = format!("{field} holds {given}; name 1 to {MAX_NAMES}, or leave it out for all");
        errors.push(wrong(field, rule));
    }
    errors.extend(
        names
            .iter()
            .filter_map(|name| Some(wrong(field, refuse(name)?))),
    );
    names.sort_unstable();
    names.dedup();
}

pub(super) fn wrong(field: &str, message: String) -> FieldError {
    FieldError {
        field: field.to_owned(),
        message,
    }
}
