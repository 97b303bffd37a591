//! Which plugins and strategies there are: the topic `control`, followed by every replica, and the writes to it.
//! What runs where is read from `changes`. Knows nothing of HTTP.

mod admission;
mod audit;
mod catalogue;
mod components;
mod define;
mod follow;
mod info;
mod plugin_log;
mod provenance;
mod recent;
mod record;
mod shadow;
mod upload;

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

pub use self::{
    admission::{Admission, FUEL_PER_CORE_SECOND},
    audit::{Actor, AuditAction, AuditEntry, AuditPage, AuditRecord},
    components::Components,
    info::{
        ControlError, FailedRow, PartitionState, PluginInfo, Precondition, ShadowInfo,
        ShadowRequest, StrategyInfo, StrategyRequest, StrategyStatus, Upload,
    },
    plugin_log::LoggedLine,
    provenance::{Provenance, SeenTick},
    shadow::{Opinion, ShadowDifference, ShadowPartition, ShadowReport},
    upload::Outcome,
};
use self::{
    catalogue::Catalogue,
    plugin_log::LogBook,
    record::{PluginRecord, StrategyRecord, manifest_message, strategy_message},
    upload::Uploads,
};
use crate::{
    log::{Append, Log, LogError, Offset, Topic},
    plugin::{Digest, Plugin, Runtime},
    strategy::Strategy,
};

/// The most strategies.
const MAX_STRATEGIES: usize = 1_000;

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
    admission: Admission,
    uploads: Uploads,
    /// One write at a time, so that each sees the one before.
    writing: tokio::sync::Mutex<()>,
}

/// What the followers write and everyone reads.
struct Shared {
    catalogue: Mutex<Catalogue>,
    plugin_log: Mutex<LogBook>,
    version: AtomicU64,
    changed: watch::Sender<u64>,
    stop: AtomicBool,
    /// Whether the topics were read to their ends once.
    caught_up: [AtomicBool; 3],
}

impl Shared {
    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn plugin_log(&self) -> MutexGuard<'_, LogBook> {
        self.plugin_log
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
            plugin_log: Mutex::default(),
            version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            stop: AtomicBool::new(false),
            caught_up: Default::default(),
        });
        follow::start(log.clone(), runtime.clone(), shared.clone())?;
        Ok(Self {
            log,
            runtime,
            shared,
            admission: Admission::default(),
            uploads: Uploads::default(),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// Takes strategies as long as they fit this plan.
    #[must_use]
    pub const fn admitting(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
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
                self.upload(Bytes::from_static(bytes), &Actor::service())
                    .await?;
            }
        }
        if self.shared.catalogue().defaults_done {
            return Ok(());
        }
        for (id, plugin, param, value) in DEFAULTS {
            let params = Map::from_iter([(param.to_owned(), Value::from(value))]);
            let request = StrategyRequest::of(plugin, params);
            match self
                .put_strategy(id, request, Precondition::Absent, &Actor::service())
                .await
            {
                Ok(_) | Err(ControlError::Precondition { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.append(vec![record::defaults_message()]).await
    }

    /// The plugin with this digest, ready to run, hidden or not.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        self.shared.catalogue().ready(digest)
    }

    /// The strategies that are to run.
    #[must_use]
    pub fn enabled(&self) -> Vec<Arc<Strategy>> {
        self.shared.catalogue().enabled()
    }

    /// The definition of a strategy or of a shadow, enabled or not.
    #[must_use]
    pub fn definition(&self, id: &str) -> Option<Arc<Strategy>> {
        self.shared.catalogue().definition(id)
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
    pub async fn remove_plugin(&self, name: &str, actor: &Actor) -> Result<(), ControlError> {
        let removed = self.try_remove_plugin(name, actor).await;
        self.audit_refusal(actor, AuditAction::RemovePlugin, name, &removed)
            .await;
        removed
    }

    async fn try_remove_plugin(&self, name: &str, actor: &Actor) -> Result<(), ControlError> {
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
            let record = PluginRecord {
                hidden: true,
                by: actor.name.clone(),
                ..record
            };
            manifest_message(digest, &record)
        });
        let entry = AuditEntry::new(
            actor,
            AuditAction::RemovePlugin,
            name,
            None,
            Ok("it was removed".to_owned()),
        );
        let appends = std::iter::once(entry.message()).chain(hidden).collect();
        self.append(appends).await?;
        self.seen(|c| c.uploads_of(name).is_empty()).await?;
        tracing::info!(plugin = name, by = actor.name, "plugin removed");
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
        actor: &Actor,
    ) -> Result<(StrategyInfo, bool), ControlError> {
        let put = self
            .try_put_strategy(id, request, precondition, actor)
            .await;
        self.audit_refusal(actor, AuditAction::PutStrategy, id, &put)
            .await;
        put
    }

    async fn try_put_strategy(
        &self,
        id: &str,
        request: StrategyRequest,
        precondition: Precondition,
        actor: &Actor,
    ) -> Result<(StrategyInfo, bool), ControlError> {
        let _writing = self.writing.lock().await;
        let before = self.shared.catalogue().strategies.get(id).cloned();
        check_precondition(id, before.as_deref(), &precondition)?;
        if before.is_none() && self.shared.catalogue().strategies.len() >= MAX_STRATEGIES {
            let message =
                format!("there are {MAX_STRATEGIES} strategies already; remove one first");
            return Err(ControlError::Conflict { message });
        }
        let version = before.as_ref().map_or(1, |s| s.strategy.version + 1);
        let record = self.define(id, request, version).await?;
        let strategy = &record.strategy;
        let entry = AuditEntry::new(
            actor,
            AuditAction::PutStrategy,
            id,
            Some(strategy.plugin_digest.clone()),
            Ok(record.in_words(before.as_deref())),
        );
        self.append(vec![entry.message(), strategy_message(&record)])
            .await?;
        self.seen(|c| c.strategies.get(id).is_some_and(|s| **s == record))
            .await?;
        tracing::info!(
            strategy = id,
            plugin = strategy.plugin,
            version,
            by = actor.name,
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
        actor: &Actor,
    ) -> Result<(), ControlError> {
        let removed = self.try_remove_strategy(id, precondition, actor).await;
        self.audit_refusal(actor, AuditAction::RemoveStrategy, id, &removed)
            .await;
        removed
    }

    async fn try_remove_strategy(
        &self,
        id: &str,
        precondition: Precondition,
        actor: &Actor,
    ) -> Result<(), ControlError> {
        let _writing = self.writing.lock().await;
        let before = self.shared.catalogue().strategies.get(id).cloned();
        if before.is_none() {
            return Err(ControlError::NotFound {
                what: format!("strategy {id:?}"),
            });
        }
        check_precondition(id, before.as_deref(), &precondition)?;
        let entry = AuditEntry::new(
            actor,
            AuditAction::RemoveStrategy,
            id,
            None,
            Ok("it was removed".to_owned()),
        );
        self.append(vec![entry.message(), record::strategy_tombstone(id)])
            .await?;
        self.seen(|c| !c.strategies.contains_key(id)).await?;
        tracing::info!(strategy = id, by = actor.name, "strategy removed");
        Ok(())
    }

    /// A part of the audit log, newest first. Blocks.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub fn audit_log(
        &self,
        below: Option<Offset>,
        limit: usize,
    ) -> Result<AuditPage, ControlError> {
        audit::read(&*self.log, below, limit)
    }

    /// The newest lines that a strategy's plugin logged, the newest first; none where there is no such strategy and
    /// never was.
    #[must_use]
    pub fn plugin_log(&self, strategy: &str, limit: usize) -> Option<Vec<LoggedLine>> {
        let lines = self.shared.plugin_log().newest(strategy, limit);
        let is_known = !lines.is_empty() || self.definition(strategy).is_some();
        is_known.then_some(lines)
    }

    /// Keeps an entry of what changes nothing. One that is not taken is told to the operator.
    async fn audit(&self, entry: &AuditEntry) {
        if let Err(error) = self.append(vec![entry.message()]).await {
            tracing::error!(%error, ?entry, "not written to the audit log");
        }
    }

    async fn audit_refusal<T>(
        &self,
        actor: &Actor,
        action: AuditAction,
        subject: &str,
        answer: &Result<T, ControlError>,
    ) {
        if let Err(error) = answer {
            let entry = AuditEntry::new(actor, action, subject, None, Err(error));
            self.audit(&entry).await;
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
    now: Option<&StrategyRecord>,
    wanted: &Precondition,
) -> Result<(), ControlError> {
    let etag = now.map(StrategyRecord::etag);
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
