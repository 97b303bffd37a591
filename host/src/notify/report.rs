//! Webhooks as the API tells of them: what stands on all partitions, put together. Never the secret.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    book::{Pages, Standing},
    definition::{Format, Webhook},
    record::{Attempt, AttemptResult, Dead},
};
use crate::market::Side;

/// A webhook.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct WebhookInfo {
    /// Given when it was defined.
    pub id: String,
    /// Where to.
    pub url: String,
    /// What it is for, in words.
    pub description: String,
    /// What the receiver reads.
    pub format: Format,
    /// Only signals on these symbols; null for all.
    pub symbols: Option<Vec<String>>,
    /// Only signals of these strategies; null for all.
    pub strategies: Option<Vec<String>>,
    /// Only this side; null for both.
    pub side: Option<Side>,
    /// Whether anything is to be sent.
    pub enabled: bool,
    /// Rises by one with each change.
    pub version: u64,
    /// When it was defined, seconds since the epoch.
    pub created: f64,
    /// What it is doing.
    pub state: WebhookState,
    /// Why it is disabled, where it was not a person who did it.
    pub reason: Option<String>,
    /// Signals delivered, ever.
    pub delivered: u64,
    /// Signals that failed and are to be tried again.
    pub due: usize,
    /// Dead letters that are kept.
    pub dead: usize,
    /// The newest attempt.
    pub last_attempt: Option<LastAttempt>,
}

/// The newest attempt of a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LastAttempt {
    /// When it began, seconds since the epoch.
    pub time: f64,
    /// What became of it.
    pub result: AttemptResult,
    /// What went wrong.
    pub error: Option<String>,
}

/// What a webhook is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookState {
    /// Its receiver takes what is sent.
    Live,
    /// The newest attempt failed.
    Failing,
    /// Nothing is sent.
    Disabled,
}

/// One attempt to deliver a signal.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AttemptInfo {
    /// The signal's id, which the receiver reads as `webhook-id`.
    pub signal: String,
    /// Which attempt of this signal, from 1 on.
    pub attempt: u32,
    /// When it began, seconds since the epoch.
    pub time: f64,
    /// From the search for the receiver's address to the end of its answer, in milliseconds.
    pub duration_ms: u64,
    /// What the receiver answered; null where it did not.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// What became of it.
    pub result: AttemptResult,
    /// When it is tried again, seconds since the epoch.
    pub next_attempt: Option<f64>,
}

/// A signal that could not be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DeadLetter {
    /// The signal's id.
    pub signal: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// When it was given up, seconds since the epoch.
    pub time: f64,
    /// Why.
    pub cause: String,
}

pub(super) fn info(pages: &Pages, webhook: &Webhook) -> WebhookInfo {
    let standings: Vec<&Standing> = pages.of(&webhook.id).map(|(_, s)| s).collect();
    let newest = standings.iter().flat_map(|s| s.attempts.values());
    let newest = newest.max_by_key(|attempt| (attempt.time_ms, attempt.n));
    let gone = pages.gone(webhook);
    let is_failing = newest.is_some_and(|attempt| attempt.result != AttemptResult::Delivered);
    WebhookInfo {
        id: webhook.id.clone(),
        url: webhook.url.clone(),
        description: webhook.description.clone(),
        format: webhook.format,
        symbols: webhook.symbols.clone(),
        strategies: webhook.strategies.clone(),
        side: webhook.side,
        enabled: pages.is_open(webhook),
        version: webhook.version,
        created: seconds(webhook.created_ms),
        state: match (pages.is_open(webhook), is_failing) {
            (false, _) => WebhookState::Disabled,
            (true, true) => WebhookState::Failing,
            (true, false) => WebhookState::Live,
        },
        reason: gone.map(|_| "the receiver answered 410 Gone".to_owned()),
        delivered: standings.iter().filter_map(|s| Some(s.at?.delivered)).sum(),
        due: standings.iter().map(|s| s.dues.len()).sum(),
        dead: standings.iter().map(|s| s.dead.len()).sum(),
        last_attempt: newest.map(|attempt| LastAttempt {
            time: seconds(attempt.time_ms),
            result: attempt.result,
            error: attempt.error.clone(),
        }),
    }
}

/// The newest attempts, the newest first.
pub(super) fn attempts(pages: &Pages, id: &str, limit: usize) -> Vec<AttemptInfo> {
    let mut all: Vec<&Attempt> = pages
        .of(id)
        .flat_map(|(_, s)| s.attempts.values())
        .collect();
    all.sort_by_key(|attempt| std::cmp::Reverse((attempt.time_ms, attempt.n)));
    let all = all.into_iter().take(limit);
    all.map(|attempt| AttemptInfo {
        signal: attempt.signal.clone(),
        attempt: attempt.attempt,
        time: seconds(attempt.time_ms),
        duration_ms: attempt.duration_ms,
        status: attempt.status,
        error: attempt.error.clone(),
        result: attempt.result,
        next_attempt: attempt.next_ms.map(seconds),
    })
    .collect()
}

/// The newest dead letters with their partitions, the newest first.
pub(super) fn dead<'a>(pages: &'a Pages, id: &'a str) -> Vec<(u32, &'a Dead)> {
    let of = |(n, standing): (u32, &'a Standing)| standing.dead.values().map(move |d| (n, d));
    let mut all: Vec<_> = pages.of(id).flat_map(of).collect();
    all.sort_by_key(|(_, dead)| std::cmp::Reverse((dead.time_ms, dead.n)));
    all
}

impl From<&Dead> for DeadLetter {
    fn from(dead: &Dead) -> Self {
        Self {
            signal: dead.signal.clone(),
            attempts: dead.attempts,
            time: seconds(dead.time_ms),
            cause: dead.cause.clone(),
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
