//! Uploads on their way: each component is checked, compiled, described and tried once, however often it is sent
//! meanwhile; few at a time, since each takes a core. What became of the newest is kept, so that a client may come back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    Actor, AuditAction, AuditEntry, Control, blocking,
    info::{ControlError, Upload},
    recent,
    record::{PluginRecord, chunk_messages, manifest_message},
};
use crate::{
    log::Append,
    plugin::{Conformance, Digest, LoadError, Plugin, conform},
};

/// Components that are compiled and tried at once.
const AT_ONCE: usize = 2;

/// Definitions that are tried at once.
const PRICED_AT_ONCE: usize = 1;

/// Uploads that may wait beside them.
const WAITING: usize = 16;

/// Uploads of which the outcome is kept.
const KEPT: usize = 200;

/// What became of an upload; none while it is on its way.
pub type Outcome = Option<Result<Upload, ControlError>>;

/// The newest uploads of this process, the oldest first.
pub(super) struct Uploads {
    jobs: Mutex<VecDeque<Job>>,
    places: Semaphore,
    /// For definitions whose price is not known.
    to_price: Arc<Semaphore>,
}

struct Job {
    digest: Digest,
    outcome: watch::Receiver<Outcome>,
}

impl Job {
    /// It has no outcome, and whoever makes it is still there.
    fn is_on_its_way(&self) -> bool {
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            to_price: Arc::new(Semaphore::new(PRICED_AT_ONCE)),
        }
    }
}

impl Uploads {
    /// A place for one that is tried outside of an upload.
    pub(super) async fn place_to_price(&self) -> Option<OwnedSemaphorePermit> {
        self.to_price.clone().acquire_owned().await.ok()
    }

    fn find(&self, digest: Digest) -> Option<watch::Receiver<Outcome>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = jobs.iter().rev().find(|job| job.digest == digest)?;
        Some(job.outcome.clone())
    }

    /// A place for another upload, or the one of the same bytes that is on its way.
    fn begin(&self, digest: Digest) -> Result<Begun, ControlError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = jobs.iter().filter(|job| job.is_on_its_way());
        if let Some(job) = under_way.clone().find(|j| j.digest == digest) {
            return Ok(Begun::Before(job.outcome.clone()));
        }
        let under_way = under_way.count();
        if under_way >= AT_ONCE + WAITING {
            let message = format!(
                "{under_way} uploads are on their way already; wait for one of them to end, and send it again"
            );
            return Err(ControlError::Busy { message });
        }
        jobs.retain(|job| job.digest != digest);
        if jobs.len() >= KEPT
            && let Some(oldest) = jobs.iter().position(|job| !job.is_on_its_way())
        {
            jobs.remove(oldest);
        }
        let (sender, outcome) = watch::channel(None);
        jobs.push_back(Job { digest, outcome });
        Ok(Begun::Now(sender))
    }
}

enum Begun {
    Before(watch::Receiver<Outcome>),
    Now(watch::Sender<Outcome>),
}

impl Control {
    /// Begins to take a component in, and gives where its outcome will stand. It goes on if nobody waits for it.
    ///
    /// # Errors
    /// [`ControlError::Busy`] where too many are on their way.
    pub fn begin_upload(
        self: &Arc<Self>,
        bytes: Bytes,
        actor: Actor,
    ) -> Result<watch::Receiver<Outcome>, ControlError> {
        let sender = match self.uploads.begin(Digest::of(&bytes))? {
            Begun::Before(outcome) => return Ok(outcome),
            Begun::Now(sender) => sender,
        };
        let (control, outcome) = (self.clone(), sender.subscribe());
        tokio::spawn(async move {
            let uploaded = control.upload(bytes, &actor).await;
            sender.send_replace(Some(uploaded));
        });
        Ok(outcome)
    }

    /// What became of an upload of this process, or of any that succeeded.
    #[must_use]
    pub fn upload_outcome(&self, digest: Digest) -> Option<Outcome> {
        if let Some(job) = self.uploads.find(digest) {
            let outcome = job.borrow().clone();
            return Some(outcome);
        }
        let plugin = self.shared.catalogue().info(digest)?;
        let created = false;
        Some(Some(Ok(Upload { plugin, created })))
    }

    /// Takes a component in: checked, compiled, described, tried, kept in the log.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the stage and cause; [`ControlError::Unavailable`].
    pub async fn upload(&self, bytes: Bytes, actor: &Actor) -> Result<Upload, ControlError> {
        let digest = Digest::of(&bytes);
        let uploaded = self.try_upload(digest, bytes, actor).await;
        let action = AuditAction::UploadPlugin;
        match &uploaded {
            Ok(Upload {
                plugin,
                created: false,
            }) => {
                let (answer, digest) = ("it was here already".to_owned(), Some(digest.to_string()));
                let entry = AuditEntry::new(actor, action, &plugin.name, digest, Ok(answer));
                self.audit(&entry).await;
            }
            Ok(_) => {}
            Err(error) => {
                let digest = digest.to_string();
                let entry =
                    AuditEntry::new(actor, action, &digest, Some(digest.clone()), Err(error));
                self.audit(&entry).await;
            }
        }
        uploaded
    }

    async fn try_upload(
        &self,
        digest: Digest,
        bytes: Bytes,
        actor: &Actor,
    ) -> Result<Upload, ControlError> {
        let known = self.shared.catalogue().info(digest);
        if let Some(plugin) = known {
            return Ok(Upload {
                plugin,
                created: false,
            });
        }
        let hidden = self.shared.catalogue().hidden(digest);
        let (record, mut appends) = match hidden {
            // It was taken in before, and its bytes are there.
            Some(record) => (record, Vec::new()),
            None => self.take_in(digest, &bytes, actor).await?,
        };
        let record = PluginRecord {
            hidden: false,
            by: actor.name.clone(),
            ..record
        };
        let answer = format!("version {} was taken in", record.version);
        let entry = AuditEntry::new(
            actor,
            AuditAction::UploadPlugin,
            &record.name,
            Some(digest.to_string()),
            Ok(answer),
        );
        appends.insert(0, entry.message());
        appends.push(manifest_message(digest, &record));
        let written = match self.append(appends).await {
            Ok(()) => self.read_to_end().await,
            Err(error) => Err(error),
        };
        self.shared.catalogue().unprepare(digest);
        written?;
        let plugin = self.shared.catalogue().info(digest);
        let plugin = plugin.ok_or_else(|| {
            let message = format!(
                "plugin sha256:{digest} was removed by another while it was taken in; send it again"
            );
            ControlError::Busy { message }
        })?;
        tracing::info!(
            plugin = plugin.name,
            version = plugin.version,
            digest = plugin.digest,
            fuel_per_tick = record.fuel_per_tick,
            by = actor.name,
            "plugin uploaded"
        );
        Ok(Upload {
            plugin,
            created: true,
        })
    }

    /// What is to be written of one that stands the trials.
    async fn take_in(
        &self,
        digest: Digest,
        bytes: &Bytes,
        actor: &Actor,
    ) -> Result<(PluginRecord, Vec<Append>), ControlError> {
        let place = self.uploads.places.acquire().await;
        let (plugin, found) = self.load_and_try(digest, bytes, actor).await?;
        drop(place);
        let description = plugin.description();
        let (messages, chunks) = chunk_messages(digest, bytes);
        let record = PluginRecord {
            name: description.name.clone(),
            version: description.version.clone(),
            size_bytes: bytes.len() as u64,
            chunks,
            hidden: false,
            by: actor.name.clone(),
            fuel_per_tick: Some(found.fuel_per_tick),
            compared: Some((found.values + found.signals) as u64),
        };
        self.shared.catalogue().prepare(plugin);
        Ok((record, messages))
    }

    /// Checks, compiles and describes it, while the ticks are read on which it is tried then.
    async fn load_and_try(
        &self,
        digest: Digest,
        bytes: &Bytes,
        actor: &Actor,
    ) -> Result<(Arc<Plugin>, Conformance), ControlError> {
        let (runtime, body) = (self.runtime.clone(), bytes.clone());
        let load = blocking(move || runtime.load(&body));
        let (log, is_service) = (self.log.clone(), actor.is_service());
        let read = blocking(move || (!is_service).then(|| recent::sample(&*log)));
        let (loaded, recent) = tokio::join!(load, read);
        let plugin = loaded?.map_err(|e| ControlError::refused_plugin(digest, &e))?;
        let recent = recent?;
        let tried = plugin.clone();
        let found =
            blocking(move || conform(&tried, &tried.description().defaults(), recent.as_ref()));
        let found = found.await?.map_err(LoadError::from);
        let found = found.map_err(|e| ControlError::refused_plugin(digest, &e))?;
        Ok((plugin, found))
    }
}
