//! Which plugins and strategies there are: the topic `control`, followed by every replica, and the writes to it.
//! What runs where is read from `changes`. Knows nothing of HTTP.

mod catalogue;
mod components;
mod follow;
mod info;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::watch;

use self::catalogue::{
    Catalogue, PluginRecord, chunk_messages, manifest_message, strategy_message,
};
pub use self::components::Components;
pub use self::info::{
    ControlError, PartitionState, PluginInfo, Precondition, StrategyInfo, StrategyRequest,
    StrategyStatus, Upload,
};
use crate::{
    log::{Append, Log, LogError, Topic},
    market::Symbol,
    plugin::{ConfigureError, Digest, FieldError, Plugin, Runtime},
    strategy::{Input, Strategy},
};

/// The most strategies.
const MAX_STRATEGIES: usize = 1_000;

/// The most symbols that a strategy may name.
const MAX_SYMBOLS: usize = 10_000;

/// The longest interval of values: a day.
const MAX_VALUES_INTERVAL_MS: u32 = 86_400_000;

/// How long a write waits until it is seen in the log by ourselves.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// The strategies of a new log: id, plugin and parameters.
const DEFAULTS: [(&str, &str, &str, u32); 3] = [
    ("ma-20", "ma", "period", 20),
    ("ema-20", "ema", "period", 20),
    ("rsi-14", "rsi", "period", 14),
];

/// Plugins and strategies. Follows the log on threads of its own until it is dropped.
pub struct Control {
    log: Arc<dyn Log>,
    runtime: Runtime,
    shared: Arc<Shared>,
    /// One write at a time, so that each sees the one before.
    writing: tokio::sync::Mutex<()>,
}

/// What the followers write and everyone reads.
struct Shared {
    catalogue: Mutex<Catalogue>,
    version: AtomicU64,
    changed: watch::Sender<u64>,
    stop: AtomicBool,
    /// Whether the topics were read to their ends once.
    caught_up: [AtomicBool; 2],
}

impl Shared {
    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn bump(&self) {
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.send_replace(version);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Control {
    /// Starts to follow the log.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn start(log: Arc<dyn Log>, runtime: Runtime) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            catalogue: Mutex::default(),
            version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            stop: AtomicBool::new(false),
            caught_up: [AtomicBool::new(false), AtomicBool::new(false)],
        });
        follow::start(log.clone(), runtime.clone(), shared.clone())?;
        Ok(Self {
            log,
            runtime,
            shared,
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// Rises with each change of plugins or strategies.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// Whether what the log held at the start has been read.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.shared
            .caught_up
            .iter()
            .all(|c| c.load(Ordering::Acquire))
    }

    /// Ends when what the log held at the start has been read.
    pub async fn caught_up(&self) {
        let mut changed = self.shared.changed.subscribe();
        while !self.is_caught_up() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Uploads the built-in plugins that the log does not have, and on a new log defines the default strategies.
    ///
    /// # Errors
    /// As of an upload.
    pub async fn deploy_defaults(&self, built_in: &[&'static [u8]]) -> Result<(), ControlError> {
        for bytes in built_in {
            if !self.shared.catalogue().has_plugin(Digest::of(bytes)) {
                self.upload(Bytes::from_static(bytes), "built-in").await?;
            }
        }
        if self.shared.catalogue().defaults_done {
            return Ok(());
        }
        for (id, plugin, param, value) in DEFAULTS {
            let params = Map::from_iter([(param.to_owned(), Value::from(value))]);
            let request = StrategyRequest::of(plugin, params);
            match self
                .put_strategy(id, request, Precondition::Absent, "built-in")
                .await
            {
                Ok(_) | Err(ControlError::Precondition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.append(vec![catalogue::defaults_message()]).await
    }

    /// The plugin with this digest, ready to run, hidden or not.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        self.shared.catalogue().ready(digest)
    }

    /// The strategies that are to run.
    #[must_use]
    pub fn enabled(&self) -> Vec<Arc<Strategy>> {
        self.shared
            .catalogue()
            .strategies
            .values()
            .filter(|s| s.enabled)
            .cloned()
            .collect()
    }

    /// The definition of a strategy, enabled or not.
    #[must_use]
    pub fn definition(&self, id: &str) -> Option<Arc<Strategy>> {
        self.shared.catalogue().strategies.get(id).cloned()
    }

    /// Takes a component in: checked, compiled, described, kept in the log.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the stage and cause; [`ControlError::Unavailable`].
    pub async fn upload(&self, bytes: Bytes, by: &str) -> Result<Upload, ControlError> {
        let digest = Digest::of(&bytes);
        let known = self.shared.catalogue().info(digest);
        if let Some(plugin) = known {
            return Ok(Upload {
                plugin,
                created: false,
            });
        }
        let (runtime, body) = (self.runtime.clone(), bytes.clone());
        let loaded = blocking(move || runtime.load(&body)).await?;
        let plugin = loaded.map_err(|e| ControlError::refused_plugin(digest, &e))?;
        let description = plugin.description();
        let record = PluginRecord {
            name: description.name.clone(),
            version: description.version.clone(),
            size_bytes: bytes.len() as u64,
            chunks: 0,
            hidden: false,
            by: by.to_owned(),
        };
        self.shared.catalogue().prepare(plugin.clone());
        let _writing = self.writing.lock().await;
        let (mut appends, chunks) = chunk_messages(digest, &bytes);
        appends.push(manifest_message(digest, &PluginRecord { chunks, ..record }));
        self.append(appends).await?;
        self.seen(|c| c.info(digest).is_some()).await?;
        let plugin = self
            .shared
            .catalogue()
            .info(digest)
            .ok_or_else(|| self.not_seen())?;
        tracing::info!(
            plugin = plugin.name,
            version = plugin.version,
            digest = plugin.digest,
            by,
            "plugin uploaded"
        );
        Ok(Upload {
            plugin,
            created: true,
        })
    }

    /// The plugins that are not hidden: the newest of each name, by name.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginInfo> {
        self.shared.catalogue().newest_of_each()
    }

    /// A plugin by name, which means its newest upload, or by digest.
    #[must_use]
    pub fn plugin(&self, name_or_digest: &str) -> Option<PluginInfo> {
        let catalogue = self.shared.catalogue();
        catalogue
            .resolve(name_or_digest)
            .and_then(|digest| catalogue.info(digest))
    }

    /// Hides all uploads of a name. The bytes stay, since signals name them.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] while a strategy runs it.
    pub async fn remove_plugin(&self, name: &str, by: &str) -> Result<(), ControlError> {
        let _writing = self.writing.lock().await;
        let (records, users) = {
            let catalogue = self.shared.catalogue();
            (catalogue.uploads_of(name), catalogue.strategies_with(name))
        };
        if records.is_empty() {
            return Err(ControlError::NotFound {
                what: format!("plugin {name:?}"),
            });
        }
        if !users.is_empty() {
            let users = users.join(", ");
            let message = format!(
                "plugin {name:?} is run by {users}; remove or change these strategies first"
            );
            return Err(ControlError::Conflict { message });
        }
        let hidden = records.into_iter().map(|(digest, record)| {
            manifest_message(
                digest,
                &PluginRecord {
                    hidden: true,
                    by: by.to_owned(),
                    ..record
                },
            )
        });
        self.append(hidden.collect()).await?;
        self.seen(|c| c.uploads_of(name).is_empty()).await?;
        tracing::info!(plugin = name, by, "plugin removed");
        Ok(())
    }

    /// All strategies, by id.
    #[must_use]
    pub fn strategies(&self) -> Vec<StrategyInfo> {
        let catalogue = self.shared.catalogue();
        catalogue
            .strategies
            .values()
            .map(|s| catalogue.strategy_info(s, self.log.partitions()))
            .collect()
    }

    /// One strategy.
    #[must_use]
    pub fn strategy(&self, id: &str) -> Option<StrategyInfo> {
        let catalogue = self.shared.catalogue();
        catalogue
            .strategies
            .get(id)
            .map(|s| catalogue.strategy_info(s, self.log.partitions()))
    }

    /// Defines or changes a strategy; the engines take it up at their next step. True where it is new.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with each wrong field; [`ControlError::Precondition`];
    /// [`ControlError::Unavailable`].
    pub async fn put_strategy(
        &self,
        id: &str,
        request: StrategyRequest,
        precondition: Precondition,
        by: &str,
    ) -> Result<(StrategyInfo, bool), ControlError> {
        let _writing = self.writing.lock().await;
        let before = self.definition(id);
        check_precondition(id, before.as_deref(), &precondition)?;
        if before.is_none() && self.shared.catalogue().strategies.len() >= MAX_STRATEGIES {
            let message =
                format!("there are {MAX_STRATEGIES} strategies already; remove one first");
            return Err(ControlError::Conflict { message });
        }
        let version = before.as_ref().map_or(1, |s| s.version + 1);
        let strategy = self.define(id, request, version).await?;
        self.append(vec![strategy_message(&strategy)]).await?;
        self.seen(|c| c.strategies.get(id).is_some_and(|s| **s == strategy))
            .await?;
        tracing::info!(
            strategy = id,
            plugin = strategy.plugin,
            version,
            by,
            "strategy defined"
        );
        let info = self.strategy(id).ok_or_else(|| self.not_seen())?;
        Ok((info, before.is_none()))
    }

    /// Removes a strategy; the engines stop it at their next step.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Precondition`]; [`ControlError::Unavailable`].
    pub async fn remove_strategy(
        &self,
        id: &str,
        precondition: Precondition,
        by: &str,
    ) -> Result<(), ControlError> {
        let _writing = self.writing.lock().await;
        let before = self.definition(id);
        if before.is_none() {
            return Err(ControlError::NotFound {
                what: format!("strategy {id:?}"),
            });
        }
        check_precondition(id, before.as_deref(), &precondition)?;
        self.append(vec![catalogue::strategy_tombstone(id)]).await?;
        self.seen(|c| !c.strategies.contains_key(id)).await?;
        tracing::info!(strategy = id, by, "strategy removed");
        Ok(())
    }

    /// Checks a request in full: all that is wrong with it is told at once.
    async fn define(
        &self,
        id: &str,
        request: StrategyRequest,
        version: u64,
    ) -> Result<Strategy, ControlError> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: String| {
            errors.push(FieldError {
                field: field.to_owned(),
                message,
            })
        };
        if !Strategy::is_id(id) {
            wrong(
                "id",
                format!(
                    "id is {id:?}; use 1 to 64 characters from a-z 0-9 . _ -, the first a letter or digit"
                ),
            );
        }
        let plugin = {
            let catalogue = self.shared.catalogue();
            let found = catalogue.resolve(&request.plugin);
            if found.is_none() {
                let names: Vec<_> = catalogue
                    .newest_of_each()
                    .into_iter()
                    .map(|p| p.name)
                    .collect();
                let names = names.join(", ");
                wrong(
                    "plugin",
                    format!(
                        "plugin is {:?}, which is not here; upload it first, or use one of {names}",
                        request.plugin
                    ),
                );
            }
            found.and_then(|digest| catalogue.ready(digest))
        };
        let symbols = request.symbols.map(|symbols| {
            if !(1..=MAX_SYMBOLS).contains(&symbols.len()) {
                let given = symbols.len();
                wrong(
                    "symbols",
                    format!(
                        "symbols holds {given}; name 1 to {MAX_SYMBOLS}, or leave it out for all"
                    ),
                );
            }
            for symbol in &symbols {
                if let Err(error) = Symbol::parse(symbol) {
                    wrong("symbols", error.to_string());
                }
            }
            let mut symbols = symbols;
            symbols.sort_unstable();
            symbols.dedup();
            symbols
        });
        if request.input != "ticks" {
            wrong(
                "input",
                format!("input is {}; use \"ticks\"", request.input),
            );
        }
        let values_interval_ms = request.values_interval_ms;
        if values_interval_ms > MAX_VALUES_INTERVAL_MS {
            wrong(
                "values_interval_ms",
                format!(
                    "values_interval_ms is {values_interval_ms}; use 0 to {MAX_VALUES_INTERVAL_MS}"
                ),
            );
        }
        let params = plugin.as_ref().and_then(|plugin| {
            plugin
                .description()
                .resolve(&request.params)
                .map_err(|e| errors.extend(e))
                .ok()
        });
        let (Some(plugin), Some(params), true) = (plugin, params, errors.is_empty()) else {
            return Err(ControlError::refused("definition", errors));
        };
        self.try_configure(&plugin, &params).await?;
        Ok(Strategy {
            id: id.to_owned(),
            plugin: plugin.description().name.clone(),
            plugin_digest: plugin.digest().to_string(),
            params_digest: Strategy::digest_of(&params),
            params,
            symbols,
            input: Input::Ticks,
            values_interval_ms,
            enabled: request.enabled,
            version,
        })
    }

    /// Lets the plugin itself look at its parameters.
    async fn try_configure(
        &self,
        plugin: &Arc<Plugin>,
        params: &Map<String, Value>,
    ) -> Result<(), ControlError> {
        let name = plugin.description().name.clone();
        let (plugin, params) = (plugin.clone(), params.clone());
        let configured = blocking(move || {
            let arguments = plugin.description().arguments(&params);
            plugin.instantiate()?.configure(&arguments)
        });
        match configured.await? {
            Ok(_) => Ok(()),
            Err(ConfigureError::Refused(refused)) => {
                let errors = refused.into_iter().map(|(param, rule)| FieldError {
                    field: format!("params.{param}"),
                    message: format!("plugin {name:?}: parameter {param:?} {rule}"),
                });
                Err(ControlError::refused("configure", errors.collect()))
            }
            Err(ConfigureError::Failed(failure)) => {
                let error = FieldError {
                    field: "params".to_owned(),
                    message: failure.to_string(),
                };
                Err(ControlError::refused("configure", vec![error]))
            }
        }
    }

    async fn append(&self, appends: Vec<Append>) -> Result<(), ControlError> {
        self.log
            .append(appends)
            .await
            .map_err(ControlError::Unavailable)
    }

    /// Waits until our own follower has read what was written.
    async fn seen(&self, holds: impl Fn(&Catalogue) -> bool) -> Result<(), ControlError> {
        let mut changed = self.shared.changed.subscribe();
        let seen = async {
            while !holds(&self.shared.catalogue()) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(SEEN_WITHIN, seen)
            .await
            .map_err(|_| self.not_seen())
    }

    fn not_seen(&self) -> ControlError {
        let detail = format!(
            "written, but not read back from {} within {} s",
            Topic::Control,
            SEEN_WITHIN.as_secs()
        );
        ControlError::Unavailable(LogError::Unavailable {
            log: Topic::Control.to_string(),
            detail,
        })
    }
}

fn check_precondition(
    id: &str,
    now: Option<&Strategy>,
    wanted: &Precondition,
) -> Result<(), ControlError> {
    let etag = now.map(info::etag);
    let message = match (wanted, &etag) {
        (Precondition::Any, _) | (Precondition::Absent, None) => return Ok(()),
        (Precondition::Exists(tag), Some(etag)) if tag == etag || tag == "*" => return Ok(()),
        (Precondition::Absent, Some(etag)) => {
            format!("strategy {id:?} is there already, with etag {etag}")
        }
        (Precondition::Exists(tag), Some(etag)) => {
            format!("strategy {id:?} has etag {etag}, not {tag}; read it again and decide anew")
        }
        (Precondition::Exists(_), None) => format!("strategy {id:?} is not there"),
    };
    Err(ControlError::Precondition { etag, message })
}

/// Runs what blocks on a thread made for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        let detail = format!("a thread of the service ended: {e}");
        ControlError::Unavailable(LogError::Unavailable {
            log: "the service".to_owned(),
            detail,
        })
    })
}
