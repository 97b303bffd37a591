//! Webhooks: tells those who are not looking. Reads `signals`, asks receivers over HTTP, and keeps in `deliveries` what is
//! still to be done, so that any replica goes on. At least once, with the signal's id to tell repeats by. Knows nothing of
//! who asks for webhooks, and never waits on behalf of the engine.

mod backoff;
mod body;
mod book;
mod catch_up;
mod connect;
mod definition;
mod deliver;
mod desk;
mod follow;
mod lane;
mod owner;
mod record;
mod report;
mod resend;
mod signature;
mod target;
mod webhooks;

use std::time::Duration;

pub use self::{
    backoff::Schedule,
    definition::{Format, WebhookRequest},
    owner::run,
    record::AttemptResult,
    report::{AttemptInfo, DeadLetter, LastAttempt, WebhookInfo, WebhookState},
    target::{Network, Targets},
    webhooks::Webhooks,
};

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which addresses may be connected to.
    pub targets: Targets,
    /// When what failed is tried again.
    pub schedule: Schedule,
    /// How long a receiver has for its answer, from the search for its address on.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            targets: Targets::default(),
            schedule: Schedule::default(),
            timeout: Duration::from_secs(15),
        }
    }
}

/// Says what the numbers of notifications mean.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "wigwag_notify_attempts_total",
        "Attempts to deliver a signal, by webhook and result: delivered, retry, dead"
    );
    metrics::describe_histogram!(
        "wigwag_notify_attempt_seconds",
        metrics::Unit::Seconds,
        "From the search for a receiver's address to the end of its answer"
    );
    metrics::describe_gauge!(
        "wigwag_notify_due",
        "Deliveries that failed and are to be tried again, by partition"
    );
    metrics::describe_gauge!(
        "wigwag_notify_behind",
        "Messages of `signals` that the webhook furthest behind has not looked at, by partition"
    );
    metrics::describe_counter!(
        "wigwag_notify_gone_total",
        "Offsets of `signals` that retention removed before a webhook looked at them"
    );
}
