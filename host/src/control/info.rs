//! What the API shows of plugins and strategies, and what it may ask.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::record::PluginRecord;
use crate::{
    log::{LogError, Offset},
    plugin::{Columns, Digest, EventKinds, FieldError, LoadError, ParamInfo, Plugin, SeriesInfo},
    strategy::{DEFAULT_VALUES_INTERVAL_MS, Input},
};

/// A plugin, as it describes itself.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PluginInfo {
    /// Its name; several uploads may share it, and it means the newest.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of the component, lower-case hex.
    pub digest: String,
    /// One line.
    pub help: String,
    /// What it may be configured with.
    pub params: Vec<ParamInfo>,
    /// The columns of a tick that it reads.
    pub columns: Vec<String>,
    /// The other kinds of record that it reads.
    pub events: Vec<String>,
    /// What it puts out at each tick.
    pub series: Vec<SeriesInfo>,
    /// Size of the component in bytes.
    pub size_bytes: u64,
    /// What a tick costs it with its default parameters, in fuel.
    pub fuel_per_tick: Option<u64>,
    /// Values and signals that were compared when it was tried with them. 0 says that none came of the ticks, as where the
    /// warm-up is longer: then the trial tells nothing of its results.
    pub compared: Option<u64>,
    /// The uploads of its name, the newest first, at most 20: `NAME@VERSION` or the digest leads back to one.
    pub versions: Vec<PluginVersion>,
}

/// An upload of a plugin's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PluginVersion {
    /// Semantic version.
    pub version: String,
    /// SHA-256 of the component, lower-case hex.
    pub digest: String,
}

impl PluginInfo {
    /// Without the other uploads of its name.
    pub(super) fn of(plugin: &Plugin, record: &PluginRecord) -> Self {
        let d = plugin.description();
        let columns = [
            (Columns::TIME, "time"),
            (Columns::OPEN, "open"),
            (Columns::HIGH, "high"),
            (Columns::LOW, "low"),
            (Columns::CLOSE, "close"),
            (Columns::VOLUME, "volume"),
        ];
        let events = [
            (EventKinds::ORDER_BOOK, "order_book"),
            (EventKinds::NEWS_SENTIMENT, "news_sentiment"),
            (EventKinds::MARKET_DATA, "market_data"),
            (EventKinds::ECONOMIC_INDICATOR, "economic_indicator"),
        ];
        let columns = columns
            .into_iter()
            .filter(|(flag, _)| d.columns.contains(*flag));
        let events = events
            .into_iter()
            .filter(|(flag, _)| d.events.contains(*flag));
        Self {
            name: d.name.clone(),
            version: d.version.clone(),
            digest: plugin.digest().to_string(),
            help: d.help.clone(),
            params: d.params.clone(),
            columns: columns.map(|(_, name)| name.to_owned()).collect(),
            events: events.map(|(_, name)| name.to_owned()).collect(),
            series: d.series.clone(),
            size_bytes: record.size_bytes,
            fuel_per_tick: record.fuel_per_tick,
            compared: record.compared,
            versions: Vec::new(),
        }
    }
}

/// The answer to an upload.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// The plugin.
    pub plugin: PluginInfo,
    /// False where the same bytes were here already.
    pub created: bool,
}

/// A definition as a client gives it.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StrategyRequest {
    /// A plugin's name, which is resolved to its newest upload, `NAME@VERSION`, or a digest.
    pub plugin: String,
    /// Parameters that differ from the plugin's defaults.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// Only these symbols; all where it is left out.
    #[serde(default)]
    pub symbols: Option<Vec<String>>,
    /// What it reads: `"ticks"`, or `{"bars": "1m"}` (1s, 1m, 5m, 1h or 1d), each bar where a tick closes it.
    #[serde(default = "ticks")]
    #[schema(value_type = Input, default = "ticks")]
    pub input: Value,
    /// Values are put out at most once in this many milliseconds of the ticks' time; 0 is every tick. They are at every
    /// bar where it reads bars; then it is at most the length of one.
    #[serde(default = "default_values_interval_ms")]
    pub values_interval_ms: u32,
    /// Whether it runs.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What runs beside it on the same ticks, to be compared; a later definition that is the same promotes it.
    #[serde(default)]
    pub shadow: Option<ShadowRequest>,
}

/// A shadow as a client gives it.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowRequest {
    /// A plugin's name, which is resolved to its newest upload, `NAME@VERSION`, or a digest.
    pub plugin: String,
    /// Parameters that differ from the plugin's defaults.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
}

fn ticks() -> Value {
    Value::from("ticks")
}

const fn default_values_interval_ms() -> u32 {
    DEFAULT_VALUES_INTERVAL_MS
}

const fn yes() -> bool {
    true
}

impl StrategyRequest {
    /// All but plugin and parameters at their defaults.
    #[must_use]
    pub fn of(plugin: &str, params: Map<String, Value>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            params,
            symbols: None,
            input: ticks(),
            values_interval_ms: DEFAULT_VALUES_INTERVAL_MS,
            enabled: true,
            shadow: None,
        }
    }
}

/// A strategy and what it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StrategyInfo {
    /// Its id.
    pub id: String,
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component, lower-case hex.
    pub plugin_digest: String,
    /// All parameters.
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// SHA-256 of the JSON of `params`, keys sorted, lower-case hex.
    pub params_digest: String,
    /// Only these symbols; null for all.
    pub symbols: Option<Vec<String>>,
    /// What it reads: `"ticks"`, or `{"bars": "1m"}`.
    pub input: Input,
    /// Values are put out at most once in this many milliseconds of the ticks' time; 0 is every tick.
    pub values_interval_ms: u32,
    /// Whether it runs.
    pub enabled: bool,
    /// What a tick costs it, in fuel: its price.
    pub fuel_per_tick: Option<u64>,
    /// What runs beside it, to be compared.
    pub shadow: Option<ShadowInfo>,
    /// Rises by one with each change.
    pub version: u64,
    /// For `If-Match`.
    pub etag: String,
    /// What it is doing on each partition.
    pub state: Vec<PartitionState>,
}

/// A shadow and what it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShadowInfo {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component, lower-case hex.
    pub plugin_digest: String,
    /// All parameters.
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// SHA-256 of the JSON of `params`, keys sorted, lower-case hex.
    pub params_digest: String,
    /// What a tick costs it, in fuel: its price.
    pub fuel_per_tick: Option<u64>,
    /// What it is doing on each partition.
    pub state: Vec<PartitionState>,
}

/// A row at which a strategy failed, and which it skipped.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FailedRow {
    /// The message of `ticks`.
    pub offset: Offset,
    /// The row's line in it.
    pub row: u32,
    /// `trap`, `fuel`, `memory`, `deadline` or `nonsense`.
    pub cause: String,
    /// For a person.
    pub detail: String,
    /// The row as a producer would send it.
    #[schema(value_type = Object)]
    pub record: Option<Value>,
}

/// What a strategy is doing on one partition.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PartitionState {
    /// The partition of `ticks`.
    pub partition: u32,
    /// What it is doing.
    pub status: StrategyStatus,
    /// The offset from which on that holds.
    pub since_offset: Option<Offset>,
    /// The line in that message from which on it does not run, where it is quarantined.
    pub row: Option<u32>,
    /// Why it does not run.
    pub reason: Option<String>,
    /// Rows at which it failed and which it skipped, since it was started.
    pub skipped_rows: u64,
    /// The last of these rows, the newest last.
    pub failures: Vec<FailedRow>,
}

/// What a strategy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StrategyStatus {
    /// The engine has not taken it up.
    Starting,
    /// It runs.
    Live,
    /// It failed too often. Defining it again lets it try again.
    Quarantined,
    /// It is not to run.
    Stopped,
}

/// On which state a write insists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// On none.
    Any,
    /// It is there with one of these etags; `*` for any.
    Exists(Vec<String>),
    /// It is not there.
    Absent,
}

/// Why nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("{what} is not here")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It is wrong.
    #[error("{message}")]
    Refused {
        /// Where it was refused: `check`, `compile`, `link`, `describe`, `conformance`, `definition`, `configure` or
        /// `admission`.
        stage: String,
        /// Each wrong field.
        errors: Vec<FieldError>,
        /// All in one line.
        message: String,
    },
    /// It is not in the state on which the write insists.
    #[error("{message}")]
    Precondition {
        /// The state in which it is.
        etag: Option<String>,
        /// For a person.
        message: String,
    },
    /// It is in use, or there are too many.
    #[error("{message}")]
    Conflict {
        /// For a person.
        message: String,
    },
    /// There is too much to do now; it may be tried again.
    #[error("{message}")]
    Busy {
        /// For a person.
        message: String,
    },
    /// The log did not take it; it may be tried again.
    #[error(transparent)]
    Unavailable(LogError),
}

impl ControlError {
    pub(crate) fn refused(stage: &str, errors: Vec<FieldError>) -> Self {
        let message = errors
            .iter()
            .map(|e| e.message.as_str())
            .collect::<Vec<_>>()
            .join("; ");
        Self::Refused {
            stage: stage.to_owned(),
            errors,
            message,
        }
    }

    pub(super) fn refused_plugin(digest: Digest, error: &LoadError) -> Self {
        let short = &digest.to_string()[..12];
        let message = format!("plugin sha256:{short}…: {error}");
        if error.is_no_fault_of_it() {
            return Self::Busy { message };
        }
        Self::Refused {
            stage: error.stage().to_owned(),
            errors: Vec::new(),
            message,
        }
    }
}
