//! Who changed what: entries of the topic `audit`, written beside the change itself and read back from the log. What is
//! refused is kept too, since whoever tries is worth knowing.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::info::ControlError;
use crate::log::{Append, Log, Messages, Offset, Start, Topic};

/// The longest answer that is kept.
const MAX_ANSWER_BYTES: usize = 1_000;

/// How far one look goes back at once, and how often it looks further for what was asked for.
const LOOK_BACK: u64 = 1_000;
const LOOKS: usize = 20;

const POLL_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_millis(500);

/// Who asks for a change, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The token's name.
    pub name: String,
    /// The address that the request came from; none where the service itself acts.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// The service itself.
    #[must_use]
    pub fn service() -> Self {
        Self {
            name: "built-in".to_owned(),
            address: None,
        }
    }

    pub(super) const fn is_service(&self) -> bool {
        self.address.is_none()
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum AuditAction {
    /// A component was sent.
    #[serde(rename = "plugin.upload")]
    UploadPlugin,
    /// A plugin's name was to be removed.
    #[serde(rename = "plugin.remove")]
    RemovePlugin,
    /// A strategy was to be defined or changed.
    #[serde(rename = "strategy.put")]
    PutStrategy,
    /// A strategy was to be removed.
    #[serde(rename = "strategy.remove")]
    RemoveStrategy,
    /// A webhook was to be defined.
    #[serde(rename = "webhook.create")]
    CreateWebhook,
    /// A webhook was to be changed.
    #[serde(rename = "webhook.change")]
    ChangeWebhook,
    /// A webhook was to be removed.
    #[serde(rename = "webhook.remove")]
    RemoveWebhook,
    /// A webhook's receiver was gone.
    #[serde(rename = "webhook.disable")]
    DisableWebhook,
    /// Dead letters were to be sent again.
    #[serde(rename = "webhook.resend")]
    ResendWebhook,
}

/// An entry as it stands in `audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The token's name; `built-in` for the service itself.
    pub who: String,
    /// The address that it came from.
    pub from: Option<String>,
    /// What was asked for.
    pub action: AuditAction,
    /// The plugin's, strategy's or webhook's name; of a refused upload its digest.
    pub subject: String,
    /// SHA-256 of the component that it is about, lower-case hex.
    pub digest: Option<String>,
    /// Whether it was done.
    pub done: bool,
    /// What was answered, in words.
    pub answer: String,
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AuditRecord {
    /// Its offset in `audit`.
    pub offset: Offset,
    /// When it was written, seconds since the epoch.
    pub time: f64,
    /// What it says.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// A part of the audit log, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<AuditRecord>,
    /// Below which the next part goes on; none at the beginning of the log.
    pub next: Option<Offset>,
}

impl AuditEntry {
    pub(crate) fn new(
        actor: &Actor,
        action: AuditAction,
        subject: &str,
        digest: Option<String>,
        answer: Result<String, &ControlError>,
    ) -> Self {
        let done = answer.is_ok();
        let mut answer = answer.unwrap_or_else(|error| match error {
            ControlError::Refused { stage, message, .. } => {
                format!("refused at {stage}: {message}")
            }
            error => error.to_string(),
        });
        if let Some((cut, _)) = answer
            .char_indices()
            .find(|(at, _)| *at >= MAX_ANSWER_BYTES)
        {
            answer.truncate(cut);
            answer.push('…');
        }
        Self {
            who: actor.name.clone(),
            from: actor.address.map(|address| address.to_string()),
            action,
            subject: subject.chars().take(100).collect(),
            digest,
            done,
            answer,
        }
    }

    pub(crate) fn message(&self) -> Append {
        Append {
            topic: Topic::Audit,
            partition: 0,
            key: Vec::new(),
            value: serde_json::to_vec(self).expect("an entry is JSON"),
            headers: Vec::new(),
        }
    }
}

/// Reads at most so many entries below an offset, newest first.
pub(super) fn read(
    log: &dyn Log,
    below: Option<Offset>,
    limit: usize,
) -> Result<AuditPage, ControlError> {
    let bounds = log
        .bounds(Topic::Audit, 0)
        .map_err(ControlError::Unavailable)?;
    let mut end = below.unwrap_or(Offset::MAX).min(bounds.end);
    let mut entries = Vec::new();
    for _ in 0..LOOKS {
        if end <= bounds.start || entries.len() >= limit {
            break;
        }
        let start = end.saturating_sub(LOOK_BACK).max(bounds.start);
        entries.extend(read_range(log, start, end)?.into_iter().rev());
        end = start;
    }
    let has_more = entries.len() > limit || end > bounds.start;
    entries.truncate(limit);
    let oldest = entries.last().map_or(end, |entry| entry.offset);
    Ok(AuditPage {
        entries,
        next: has_more.then_some(oldest),
    })
}

/// Entries in their order; what is none is passed over.
fn read_range(log: &dyn Log, start: Offset, end: Offset) -> Result<Vec<AuditRecord>, ControlError> {
    let start = Start {
        topic: Topic::Audit,
        partition: 0,
        offset: start,
    };
    let unavailable = ControlError::Unavailable;
    let mut reader = log.read(&[start]).map_err(unavailable)?;
    let (mut entries, mut messages) = (Vec::new(), Messages::new());
    while reader.position(Topic::Audit, 0) < end {
        let before = reader.position(Topic::Audit, 0);
        messages.clear();
        (reader.poll(&mut messages, POLL_BYTES, PATIENCE)).map_err(unavailable)?;
        for message in messages.iter().filter(|m| m.offset < end) {
            if let Ok(entry) = serde_json::from_slice(message.value) {
                entries.push(AuditRecord {
                    offset: message.offset,
                    time: message.timestamp_ms as f64 / 1000.0,
                    entry,
                });
            }
        }
        if messages.is_empty() && reader.position(Topic::Audit, 0) == before {
            break;
        }
    }
    Ok(entries)
}
