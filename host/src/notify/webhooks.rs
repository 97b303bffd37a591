//! Which webhooks there are, for those who ask and those who change them. A change is written to the log with its audit
//! entry, and answered when it was read back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rand::RngExt;

use super::{
    book::{Book, Pages, webhook_message, webhook_tombstones},
    definition::{Webhook, WebhookRequest, check},
    follow,
    record::{Dead, Key, message},
    report::{self, AttemptInfo, DeadLetter, WebhookInfo},
    resend::requests,
    signature::new_secret,
    target::Targets,
};
use crate::{
    control::{Actor, AuditAction, AuditEntry, ControlError},
    ingest::Clock,
    log::{Append, Log, LogError, Offset, Topic},
};

/// The most webhooks: each has room of its own in memory, on each partition.
const MAX_WEBHOOKS: usize = 50;

/// How long a write waits until it is read back.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// How long a definition waits for the addresses of a name.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// The most dead letters that are sent again at once, the newest.
const MAX_RESENT: usize = 1_000;

/// Webhooks. Follows the log on a thread of its own until it is dropped.
pub struct Webhooks {
    log: Arc<dyn Log>,
    book: Arc<Book>,
    targets: Targets,
    clock: Clock,
    /// One write at a time, so that each sees the one before.
    writing: tokio::sync::Mutex<()>,
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.book.stop.store(true, Ordering::Relaxed);
    }
}

impl Webhooks {
    /// Starts to follow the log.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn start(log: Arc<dyn Log>, targets: Targets, clock: Clock) -> std::io::Result<Self> {
        let book = Arc::new(Book::new(log.partitions()));
        follow::start(log.clone(), book.clone())?;
        Ok(Self {
            log,
            book,
            targets,
            clock,
            writing: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    pub(super) fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// Whether what the log held at the start has been read.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.book.is_caught_up()
    }

    /// All webhooks, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<WebhookInfo> {
        let pages = self.book.pages();
        let mut all: Vec<_> = pages.webhooks.values().collect();
        all.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        all.into_iter()
            .map(|webhook| report::info(&pages, webhook))
            .collect()
    }

    /// One webhook.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<WebhookInfo> {
        let pages = self.book.pages();
        pages
            .webhooks
            .get(id)
            .map(|webhook| report::info(&pages, webhook))
    }

    /// The newest attempts, the newest first; none where there is no such webhook.
    #[must_use]
    pub fn attempts(&self, id: &str, limit: usize) -> Option<Vec<AttemptInfo>> {
        let pages = self.book.pages();
        let is_known = pages.webhooks.contains_key(id);
        is_known.then(|| report::attempts(&pages, id, limit))
    }

    /// The newest dead letters, the newest first; none where there is no such webhook.
    #[must_use]
    pub fn dead_letters(&self, id: &str, limit: usize) -> Option<Vec<DeadLetter>> {
        let pages = self.book.pages();
        let all = pages
            .webhooks
            .contains_key(id)
            .then(|| report::dead(&pages, id))?;
        Some(
            all.into_iter()
                .take(limit)
                .map(|(_, dead)| dead.into())
                .collect(),
        )
    }

    /// Defines a webhook, which gets what is committed from now on. Its secret is told here and nowhere else.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with each wrong field; [`ControlError::Conflict`]; [`ControlError::Unavailable`].
    pub async fn create(
        &self,
        request: WebhookRequest,
        actor: &Actor,
    ) -> Result<(WebhookInfo, String), ControlError> {
        let id = format!("wh_{}", hex::encode(rand::rng().random::<[u8; 8]>()));
        let created = self.try_create(&id, request, actor).await;
        self.audit_refusal(actor, AuditAction::CreateWebhook, &id, &created)
            .await;
        created
    }

    async fn try_create(
        &self,
        id: &str,
        request: WebhookRequest,
        actor: &Actor,
    ) -> Result<(WebhookInfo, String), ControlError> {
        let _writing = self.writing.lock().await;
        self.require_caught_up()?;
        if self.book.pages().webhooks.len() >= MAX_WEBHOOKS {
            let message = format!("there are {MAX_WEBHOOKS} webhooks already; remove one first");
            return Err(ControlError::Conflict { message });
        }
        let request = self.check(request).await?;
        let secret = new_secret();
        let since = self.ends().await?;
        let created_ms = self.now_ms();
        let webhook = define(id, request, secret.clone(), (1, 1), (since, created_ms));
        let info = self
            .write(webhook, AuditAction::CreateWebhook, "defined", actor)
            .await?;
        Ok((info, secret))
    }

    /// Changes a webhook; where it was disabled and is no more, it gets what is committed from now on.
    ///
    /// # Errors
    /// As of [`Webhooks::create`]; [`ControlError::NotFound`]; [`ControlError::Precondition`] where its version is not
    /// one of these.
    pub async fn change(
        &self,
        id: &str,
        request: WebhookRequest,
        versions: Option<Vec<u64>>,
        actor: &Actor,
    ) -> Result<WebhookInfo, ControlError> {
        let changed = self.try_change(id, request, versions, actor).await;
        self.audit_refusal(actor, AuditAction::ChangeWebhook, id, &changed)
            .await;
        changed
    }

    async fn try_change(
        &self,
        id: &str,
        request: WebhookRequest,
        versions: Option<Vec<u64>>,
        actor: &Actor,
    ) -> Result<WebhookInfo, ControlError> {
        let _writing = self.writing.lock().await;
        self.require_caught_up()?;
        let before = self.require(id, versions.as_deref())?;
        let request = self.check(request).await?;
        let was_open = self.book.pages().is_open(&before);
        let version = before.version + 1;
        let (epoch, since) = match request.enabled && !was_open {
            true => (version, self.ends().await?),
            false => (before.epoch, before.since.clone()),
        };
        let beginning = (since, before.created_ms);
        let webhook = define(
            id,
            request,
            before.secret.clone(),
            (version, epoch),
            beginning,
        );
        self.write(webhook, AuditAction::ChangeWebhook, "changed", actor)
            .await
    }

    /// Removes a webhook, and all that is kept of it.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Precondition`]; [`ControlError::Unavailable`].
    pub async fn remove(
        &self,
        id: &str,
        versions: Option<Vec<u64>>,
        actor: &Actor,
    ) -> Result<(), ControlError> {
        let removed = self.try_remove(id, versions, actor).await;
        self.audit_refusal(actor, AuditAction::RemoveWebhook, id, &removed)
            .await;
        removed
    }

    async fn try_remove(
        &self,
        id: &str,
        versions: Option<Vec<u64>>,
        actor: &Actor,
    ) -> Result<(), ControlError> {
        let _writing = self.writing.lock().await;
        self.require_caught_up()?;
        self.require(id, versions.as_deref())?;
        let entry = entry(
            actor,
            AuditAction::RemoveWebhook,
            id,
            "it was removed".to_owned(),
        );
        let mut appends = vec![entry];
        appends.extend(webhook_tombstones(id));
        self.append(appends).await?;
        self.seen(|pages| !pages.webhooks.contains_key(id)).await?;
        tracing::info!(webhook = id, by = actor.name, "webhook removed");
        Ok(())
    }

    /// Asks that dead letters be sent again: one, or all that are kept. Tells how many.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] where there is no such webhook or letter; [`ControlError::Conflict`] where it is
    /// disabled; [`ControlError::Unavailable`].
    pub async fn resend(
        &self,
        id: &str,
        signal: Option<&str>,
        actor: &Actor,
    ) -> Result<usize, ControlError> {
        let asked = self.try_resend(id, signal, actor).await;
        self.audit_refusal(actor, AuditAction::ResendWebhook, id, &asked)
            .await;
        asked
    }

    async fn try_resend(
        &self,
        id: &str,
        signal: Option<&str>,
        actor: &Actor,
    ) -> Result<usize, ControlError> {
        let _writing = self.writing.lock().await;
        self.require_caught_up()?;
        let webhook = self.require(id, None)?;
        let letters: Vec<(u32, Dead)> = {
            let pages = self.book.pages();
            if !pages.is_open(&webhook) {
                let message = format!("webhook {id:?} is disabled; enable it first");
                return Err(ControlError::Conflict { message });
            }
            let all = report::dead(&pages, id).into_iter();
            let wanted = all.filter(|(_, dead)| signal.is_none_or(|signal| dead.signal == signal));
            let wanted = wanted.take(MAX_RESENT);
            wanted
                .map(|(partition, dead)| (partition, dead.clone()))
                .collect()
        };
        if let (Some(signal), true) = (signal, letters.is_empty()) {
            return Err(ControlError::NotFound {
                what: format!("dead letter {signal:?} of webhook {id:?}"),
            });
        }
        let (log, now_ms) = (self.log.clone(), self.now_ms());
        let read = move || requests(&*log, letters, now_ms);
        let requests = blocking(read).await?;
        if let (Some(signal), true) = (signal, requests.is_empty()) {
            return Err(ControlError::NotFound {
                what: format!("signal {signal:?}, which retention has removed,"),
            });
        }
        let count = requests.len();
        let answer = match signal {
            Some(signal) => format!("dead letter {signal} is sent again"),
            None => format!("{count} dead letters are sent again"),
        };
        let mut appends = vec![entry(actor, AuditAction::ResendWebhook, id, answer)];
        appends.extend(requests.iter().map(|(partition, request)| {
            message(*partition, id, Key::Resend(&request.signal), request)
        }));
        self.append(appends).await?;
        Ok(count)
    }

    async fn check(&self, request: WebhookRequest) -> Result<WebhookRequest, ControlError> {
        let host = request.url.clone();
        let checked = tokio::time::timeout(RESOLVE_WITHIN, check(request, &self.targets)).await;
        let checked = checked.unwrap_or_else(|_| {
            let limit = RESOLVE_WITHIN.as_secs();
            let rule =
                format!("url is {host:?}; its host's addresses were not found within {limit} s");
            Err(vec![super::definition::wrong("url", rule)])
        });
        checked.map_err(|errors| ControlError::refused("definition", errors))
    }

    /// The ends of all partitions of `signals`: what is committed from now on lies behind them.
    async fn ends(&self) -> Result<Vec<Offset>, ControlError> {
        let log = self.log.clone();
        blocking(move || {
            let all = 0..log.partitions();
            all.map(|partition| Ok(log.bounds(Topic::Signals, partition)?.end))
                .collect()
        })
        .await
    }

    async fn write(
        &self,
        webhook: Webhook,
        action: AuditAction,
        verb: &str,
        actor: &Actor,
    ) -> Result<WebhookInfo, ControlError> {
        let (id, version) = (webhook.id.clone(), webhook.version);
        let state = if webhook.enabled { "" } else { ", disabled" };
        // An address may be a secret itself: its host says enough.
        let host = webhook.url.split('/').nth(2).unwrap_or_default();
        let answer = format!("{verb}: version {version}, to {host}{state}");
        let appends = vec![entry(actor, action, &id, answer), webhook_message(&webhook)];
        self.append(appends).await?;
        self.seen(|pages| {
            pages
                .webhooks
                .get(&id)
                .is_some_and(|seen| **seen == webhook)
        })
        .await?;
        tracing::info!(webhook = id, version, by = actor.name, "webhook {verb}");
        self.get(&id).ok_or_else(|| self.not_seen())
    }

    fn require(&self, id: &str, versions: Option<&[u64]>) -> Result<Arc<Webhook>, ControlError> {
        let webhook = self.book.pages().webhooks.get(id).cloned();
        let webhook = webhook.ok_or_else(|| ControlError::NotFound {
            what: format!("webhook {id:?}"),
        })?;
        let version = webhook.version;
        if versions.is_some_and(|versions| !versions.contains(&version)) {
            return Err(ControlError::Precondition {
                etag: Some(format!("\"{version}\"")),
                message: format!(
                    "webhook {id:?} is of version {version}, and not of that in If-Match; look at it again"
                ),
            });
        }
        Ok(webhook)
    }

    fn require_caught_up(&self) -> Result<(), ControlError> {
        match self.is_caught_up() {
            true => Ok(()),
            false => Err(ControlError::Busy {
                message: "webhooks are being read from the log; try again".to_owned(),
            }),
        }
    }

    async fn append(&self, appends: Vec<Append>) -> Result<(), ControlError> {
        self.log
            .append(appends)
            .await
            .map_err(ControlError::Unavailable)
    }

    async fn seen(&self, holds: impl Fn(&Pages) -> bool) -> Result<(), ControlError> {
        let mut changes = self.book.changes();
        let seen = async {
            while !holds(&self.book.pages()) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let seen = tokio::time::timeout(SEEN_WITHIN, seen).await;
        seen.map_err(|_| self.not_seen())
    }

    fn not_seen(&self) -> ControlError {
        let limit = SEEN_WITHIN.as_secs();
        ControlError::Busy {
            message: format!("it was written, and not read back within {limit} s; ask again"),
        }
    }

    async fn audit_refusal<T>(
        &self,
        actor: &Actor,
        action: AuditAction,
        id: &str,
        answer: &Result<T, ControlError>,
    ) {
        let Err(error) = answer else { return };
        let entry = AuditEntry::new(actor, action, id, None, Err(error));
        if let Err(error) = self.append(vec![entry.message()]).await {
            tracing::error!(%error, ?entry, "not written to the audit log");
        }
    }

    fn now_ms(&self) -> i64 {
        ((self.clock)() * 1000.0) as i64
    }
}

fn define(
    id: &str,
    request: WebhookRequest,
    secret: String,
    (version, epoch): (u64, u64),
    (since, created_ms): (Vec<Offset>, i64),
) -> Webhook {
    Webhook {
        id: id.to_owned(),
        url: request.url,
        description: request.description,
        format: request.format,
        symbols: request.symbols,
        strategies: request.strategies,
        side: request.side,
        enabled: request.enabled,
        secret,
        version,
        epoch,
        since,
        created_ms,
    }
}

fn entry(actor: &Actor, action: AuditAction, id: &str, answer: String) -> Append {
    AuditEntry::new(actor, action, id, None, Ok(answer)).message()
}

async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, ControlError> {
    let answer = tokio::task::spawn_blocking(ask).await;
    let stopping = |_| ControlError::Busy {
        message: "the service is stopping".to_owned(),
    };
    answer.map_err(stopping)?.map_err(ControlError::Unavailable)
}
