//! One attempt: a signed request, and what the receiver made of it. Every outcome is data; none is an error of ours.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::{
    client::legacy::{Client, Error as ClientError},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    Options,
    backoff::retry_after,
    body::render,
    connect::{ConnectError, Connector},
    definition::Webhook,
    record::Delivery,
    signature::sign,
};
use crate::ingest::Clock;

/// What is read of an answer, so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// How long a connection waits for the next signal.
const IDLE_FOR: Duration = Duration::from_secs(30);
const MAX_IDLE: usize = 4;

/// The longest cause that is kept.
const MAX_CAUSE_CHARS: usize = 300;

const AGENT: &str = concat!("wigwag/", env!("CARGO_PKG_VERSION"));

/// Sends.
#[derive(Clone)]
pub(super) struct Sender {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
    clock: Clock,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) began_ms: i64,
    pub(super) duration: Duration,
    /// What the receiver answered, where it did.
    pub(super) status: Option<u16>,
    /// What went wrong before an answer.
    pub(super) error: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl Outcome {
    pub(super) fn is_delivered(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the receiver wants nothing any more.
    pub(super) fn is_gone(&self) -> bool {
        self.status == Some(StatusCode::GONE.as_u16())
    }

    pub(super) fn ended_ms(&self) -> i64 {
        let duration = i64::try_from(self.duration.as_millis()).unwrap_or(i64::MAX);
        self.began_ms.saturating_add(duration)
    }

    pub(super) fn in_words(&self) -> String {
        match (&self.error, self.status) {
            (Some(error), _) => error.clone(),
            (None, Some(status @ 300..400)) => {
                format!("it answers {status}; redirects are not followed")
            }
            (None, Some(status)) => format!("it answers {status}"),
            (None, None) => "no answer".to_owned(),
        }
    }
}

impl Sender {
    pub(super) fn try_new(
        options: &Options,
        clock: Clock,
    ) -> Result<Self, tokio_rustls::rustls::Error> {
        let connector = Connector::try_new(Arc::new(options.targets.clone()))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            client,
            timeout: options.timeout,
            clock,
        })
    }

    /// Sends one signal to one webhook, once.
    pub(super) async fn send(&self, webhook: &Webhook, delivery: &Delivery) -> Outcome {
        let (began_s, started) = ((self.clock)(), Instant::now());
        let asked = tokio::time::timeout(self.timeout, self.ask(webhook, delivery, began_s));
        let (status, error, retry_after) = match asked.await {
            Ok(Ok((status, retry_after))) => (Some(status.as_u16()), None, retry_after),
            Ok(Err(error)) => (None, Some(error), None),
            Err(_) => {
                let limit = self.timeout.as_secs_f64();
                (None, Some(format!("no answer within {limit} s")), None)
            }
        };
        let error = error.map(|error| error.chars().take(MAX_CAUSE_CHARS).collect());
        Outcome {
            began_ms: (began_s * 1000.0) as i64,
            duration: started.elapsed(),
            status,
            error,
            retry_after,
        }
    }

    async fn ask(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        now_s: f64,
    ) -> Result<(StatusCode, Option<Duration>), String> {
        let body = render(webhook.format, delivery.json.get());
        let timestamp_s = now_s as i64;
        let signature = sign(&webhook.secret, &delivery.signal, timestamp_s, &body)
            .ok_or("its secret is damaged; define the webhook anew")?;
        let uri: Uri = (webhook.url.parse()).map_err(|error| format!("url: {error}"))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, AGENT)
            .header("webhook-id", &delivery.signal)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", signature)
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let answer = (self.client.request(request).await).map_err(|error| in_words(&error))?;
        let status = answer.status();
        let header = answer.headers().get(header::RETRY_AFTER);
        let asked = header
            .and_then(|value| retry_after(value.to_str().ok()?, now_s))
            .filter(|_| !status.is_success());
        // What it says does not matter, nor whether it says it to the end.
        drop(
            Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await,
        );
        Ok((status, asked))
    }
}

/// The cause, and not the ways on which it came.
fn in_words(error: &ClientError) -> String {
    let mut last: &(dyn Error + 'static) = error;
    loop {
        if let Some(error) = last.downcast_ref::<ConnectError>() {
            return error.to_string();
        }
        match last.source() {
            Some(source) => last = source,
            None => return format!("no answer: {last}"),
        }
    }
}
