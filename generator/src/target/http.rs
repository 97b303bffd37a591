//! Batches as POSTs, one in flight at a time. Each carries the run's `Producer-Id` and a rising `Sequence`, so that
//! one whose answer was lost can be sent again without being taken twice.

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::RngExt;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::Sent;
use crate::{batch::Batch, clock, stop::Stop, totals::Totals};

const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
const SEQUENCE: HeaderName = HeaderName::from_static("sequence");

/// An answer that takes longer is taken for lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The first wait before the same batch is sent again; it doubles up to the last, less up to half at random.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// A server that asks for more patience gets this much.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Rejected records are counted, but told of once in this time.
const REJECTION_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// As much of an answer that is no problem document as a message shows.
const SHOWN_CHARS: usize = 300;

/// Posts batches to an ingest route.
pub struct Http {
    client: Client,
    url: Url,
    sequence: u64,
    totals: Arc<Totals>,
    rejection_logged: Option<Instant>,
}

/// Why posting cannot go on.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The client could not be set up.
    #[error("{url}: {cause}")]
    Client {
        /// Where to.
        url: Url,
        /// Why.
        cause: String,
    },
    /// The server said no for good.
    #[error("{url} answered {status}: {detail}")]
    Refused {
        /// Where to.
        url: Url,
        /// How.
        status: StatusCode,
        /// Why, in the server's words.
        detail: String,
    },
}

/// What ingest answers to a POST, and what it says is wrong.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    accepted: Option<u64>,
    rejected: Option<u64>,
    errors: Vec<serde_json::Value>,
    title: Option<String>,
    detail: Option<String>,
}

/// How one try ended.
enum Try {
    Taken {
        accepted: u64,
        rejected: u64,
        first_error: Option<String>,
    },
    Refused(StatusCode, String),
    /// Trying again may help, after so long if the server said so.
    Again {
        cause: String,
        retry_after: Option<Duration>,
    },
}

impl Http {
    /// A sender to that route. Without a producer id it takes a random one, and counts from 1; a given id may have
    /// been used by a run before, so its numbers begin at the clock's microseconds to be above those.
    ///
    /// # Errors
    /// When the HTTP client refuses its settings.
    pub fn new(
        url: Url,
        token: Option<&str>,
        producer_id: Option<&str>,
        totals: Arc<Totals>,
    ) -> Result<Self, HttpError> {
        let (producer_id, sequence) = match producer_id {
            Some(id) => (id.to_owned(), clock::now_us().unsigned_abs()),
            None => (format!("generator-{:016x}", rand::rng().random::<u64>()), 1),
        };
        let failed = |cause: String| HttpError::Client {
            url: url.clone(),
            cause,
        };
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|error| failed(error.to_string()));
        let mut headers = HeaderMap::new();
        headers.insert(PRODUCER_ID, value(&producer_id)?);
        if let Some(token) = token {
            let mut bearer = value(&format!("Bearer {token}"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let client = Client::builder()
            .default_headers(headers)
            .timeout(ANSWER_TIMEOUT)
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true)
            // What is sent goes where it was told to, whatever HTTP_PROXY says.
            .no_proxy()
            .build()
            .map_err(|error| failed(causes(&error)))?;
        debug!(producer_id, sequence, %url, "ready to post");
        Ok(Self {
            client,
            url,
            sequence,
            totals,
            rejection_logged: None,
        })
    }

    /// Sends a batch until it is taken; see [`super::Target::send`].
    ///
    /// # Errors
    /// When the server refuses the batch as a whole, for another reason than load or rejected records.
    pub async fn send(&mut self, batch: &mut Batch, stop: &Stop) -> Result<Sent, HttpError> {
        let records = batch.len() as u64;
        let mut content = mem::take(&mut batch.body);
        let content_type = if records == 1 {
            content.pop();
            "application/json"
        } else {
            "application/x-ndjson"
        };
        let body = Bytes::from(content);
        self.totals.add_sent(records);
        let mut wait = FIRST_WAIT;
        let sent = loop {
            let tried = tokio::select! {
                tried = self.post(body.clone(), content_type, records) => tried,
                () = stop.overdue() => {
                    warn!(records, "ended while a POST was unanswered; its records may or may not have been taken");
                    break Sent::Enough;
                }
            };
            match tried {
                Try::Taken {
                    accepted,
                    rejected,
                    first_error,
                } => {
                    self.totals.add_accepted(accepted);
                    self.totals.add_rejected(rejected);
                    self.log_rejection(rejected, first_error);
                    break Sent::Done;
                }
                Try::Refused(status, detail) => {
                    return Err(HttpError::Refused {
                        url: self.url.clone(),
                        status,
                        detail,
                    });
                }
                Try::Again { cause, retry_after } => {
                    let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.0));
                    let pause = retry_after
                        .map_or(jittered, |asked| asked.min(LONGEST_RETRY_AFTER) + jittered);
                    let pause_ms = pause.as_millis() as u64;
                    warn!(%cause, pause_ms, sequence = self.sequence, "not taken, will send the same again");
                    tokio::select! {
                        () = sleep(pause) => wait = (wait * 2).min(LAST_WAIT),
                        () = stop.asked() => {
                            warn!(records, "ended before the last batch was taken");
                            break Sent::Enough;
                        }
                    }
                }
            }
        };
        self.sequence += 1;
        // The buffer comes back unless a broken connection still holds it.
        batch.body = Vec::from(body);
        Ok(sent)
    }

    async fn post(&self, body: Bytes, content_type: &'static str, records: u64) -> Try {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, content_type);
        let again = |error: &reqwest::Error| Try::Again {
            cause: causes(error),
            retry_after: None,
        };
        let response = match request
            .header(SEQUENCE, self.sequence)
            .body(body)
            .send()
            .await
        {
            Ok(response) => response,
            Err(error) => return again(&error),
        };
        let (status, retry_after) = (response.status(), retry_after(&response));
        let content = match response.bytes().await {
            Ok(content) => content,
            Err(error) => return again(&error),
        };
        let parsed = serde_json::from_slice::<Answer>(&content).ok();
        // Others than Wigwag may answer 200 without a report.
        let answer = parsed.unwrap_or_default();
        match status {
            StatusCode::UNPROCESSABLE_ENTITY => {
                let accepted = answer.accepted.unwrap_or(0);
                let first_error = answer.first_error().or(answer.detail).or(answer.title);
                Try::Taken {
                    accepted,
                    rejected: answer.rejected.unwrap_or(records - accepted.min(records)),
                    first_error,
                }
            }
            status if status.is_success() => {
                let rejected = answer.rejected.unwrap_or(0);
                let accepted = answer.accepted.unwrap_or(records - rejected.min(records));
                Try::Taken {
                    accepted,
                    rejected,
                    first_error: answer.first_error(),
                }
            }
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => {
                let cause = format!("answered {status}: {}", answer.detail(&content));
                Try::Again { cause, retry_after }
            }
            status => Try::Refused(status, answer.detail(&content)),
        }
    }

    fn log_rejection(&mut self, rejected: u64, first_error: Option<String>) {
        let due = self
            .rejection_logged
            .is_none_or(|at| at.elapsed() >= REJECTION_LOG_INTERVAL);
        if rejected > 0 && due {
            self.rejection_logged = Some(Instant::now());
            warn!(rejected, first_error, "records were rejected");
        }
    }
}

impl Answer {
    fn first_error(&self) -> Option<String> {
        self.errors.first().map(ToString::to_string)
    }

    fn detail(&self, content: &[u8]) -> String {
        let said = self.detail.clone().or_else(|| self.title.clone());
        said.unwrap_or_else(|| {
            String::from_utf8_lossy(content)
                .trim()
                .chars()
                .take(SHOWN_CHARS)
                .collect()
        })
    }
}

/// `Retry-After` in seconds. Its other form, a date, would need both clocks to agree: the usual wait does then.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// An error with what lies beneath it: `reqwest` shows only its outermost words.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
