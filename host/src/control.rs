//! Which plugins and strategies there are: the topic `control`, followed by every replica, and the writes to it.
//! What runs where is read from `changes`. Knows nothing of HTTP.

mod admission;
mod audit;
mod catalogue;
mod components;
mod defaults;
mod define;
mod follow;
mod info;
mod looks;
mod plugin_log;
mod plugins;
mod provenance;
mod recent;
mod record;
mod shadow;
mod strategies;
mod upload;
mod write;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

pub use self::{
    admission::{Admission, FUEL_PER_CORE_SECOND},
    audit::{Actor, AuditAction, AuditEntry, AuditPage, AuditRecord},
    components::Components,
    info::{
        ControlError, FailedRow, PartitionState, PluginInfo, PluginVersion, Precondition,
        ShadowInfo, ShadowRequest, StrategyInfo, StrategyRequest, StrategyStatus, Upload,
    },
    plugin_log::LoggedLine,
    provenance::{Provenance, SeenTick},
    shadow::{Opinion, ShadowDifference, ShadowPartition, ShadowReport},
    upload::Outcome,
};
use self::{
    catalogue::Catalogue, looks::Looks, plugin_log::LogBook, upload::Uploads, write::Writer,
};
use crate::{
    log::{Append, Log, LogError, Offset},
    plugin::Runtime,
    strategy::Strategy,
};

/// How long a write waits until it is seen in the log by ourselves.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Plugins and strategies. Follows the log on threads of its own until it is dropped.
pub struct Control {
    log: Arc<dyn Log>,
    runtime: Runtime,
    shared: Arc<Shared>,
    admission: Admission,
    uploads: Uploads,
    looks: Looks,
    /// One write at a time, so that each sees the one before.
    writing: tokio::sync::Mutex<Writer>,
}

/// What the followers write and everyone reads.
struct Shared {
    catalogue: Mutex<Catalogue>,
    plugin_log: Mutex<LogBook>,
    version: AtomicU64,
    changed: watch::Sender<u64>,
    /// The offset up to which `control` was read.
    control_read: watch::Sender<Offset>,
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
            control_read: watch::Sender::new(0),
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
            looks: Looks::default(),
            writing: tokio::sync::Mutex::default(),
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
