//! Fetches records from producers that only show their newest one, such as a generator's `GET /`.

use std::{collections::VecDeque, error::Error, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Clock, Content, Ingest, IngestError, counts::count_repeat, retry::Retry};

/// A producer that shows one record answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Several producers of one market stand behind one address, and one that is a little behind shows again what another
/// showed before. So many of the newest bodies are known again.
const REMEMBERED: usize = 64;

/// Fetches `url` at each `every`, and takes what it answers as records, until `shutdown`. `http` must not
/// keep connections (`pool_max_idle_per_host(0)`), or a load balancer gives the same producer each time.
pub async fn pull(
    url: reqwest::Url,
    every: Duration,
    ingest: Ingest,
    http: reqwest::Client,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut turns = interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry = Retry::default();
    let mut source = Source {
        url,
        ingest,
        http,
        clock,
        seen: VecDeque::new(),
        in_hand: None,
    };
    loop {
        let turn = async {
            turns.tick().await;
            let Err(error) = source.take().await else {
                let failures = retry.worked();
                if failures > 0 {
                    tracing::info!(url = %source.url, failures, "pull works again");
                }
                return;
            };
            if !retry.is_failing() {
                tracing::warn!(url = %source.url, %error, "pull gets no record; trying again");
            }
            metrics::counter!("wigwag_ingest_pull_failures_total").increment(1);
            sleep(retry.failed()).await;
        };
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            () = turn => {}
        }
    }
}

struct Source {
    url: reqwest::Url,
    ingest: Ingest,
    http: reqwest::Client,
    clock: Clock,
    /// The newest last.
    seen: VecDeque<Bytes>,
    /// Fetched, and not acknowledged by the log.
    in_hand: Option<Bytes>,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("{0}")]
    Http(String),
    #[error("it answers {0}")]
    Status(reqwest::StatusCode),
    #[error(transparent)]
    Refused(#[from] IngestError),
}

impl Source {
    async fn take(&mut self) -> Result<(), PullError> {
        let body = match &self.in_hand {
            Some(body) => body.clone(),
            None => self.fetch().await?,
        };
        if self.seen.contains(&body) {
            count_repeat();
            return Ok(());
        }
        self.in_hand = Some(body.clone());
        let posted = self
            .ingest
            .post(
                body.clone(),
                Content::Auto,
                None,
                self.url.as_str(),
                (self.clock)(),
            )
            .await;
        if !matches!(posted, Err(IngestError::Unavailable(_))) {
            self.in_hand = None;
        }
        posted?;
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(body);
        Ok(())
    }

    async fn fetch(&self) -> Result<Bytes, PullError> {
        let mut response = self
            .http
            .get(self.url.clone())
            .timeout(TIMEOUT)
            .send()
            .await?;
        if !response.status().is_success() {
            return Err(PullError::Status(response.status()));
        }
        let limit = self.ingest.options.max_body_bytes;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(IngestError::TooLarge {
                    limit,
                    unit: "bytes",
                }
                .into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

impl From<reqwest::Error> for PullError {
    /// With its causes, which its own message leaves out.
    fn from(error: reqwest::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::Http(message)
    }
}
