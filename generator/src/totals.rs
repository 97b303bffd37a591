//! What a run has sent so far, and its report once a second: a progress bar on a terminal, log lines elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::info;
use tracing_subscriber::fmt::MakeWriter;

/// Between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Counts of records. Sent ones that are neither accepted nor rejected are on their way, or their answer was lost.
#[derive(Debug, Default)]
pub struct Totals {
    sent: AtomicU64,
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl Totals {
    /// Counts records given to the target for the first time.
    pub fn add_sent(&self, records: u64) {
        self.sent.fetch_add(records, Relaxed);
    }

    /// Counts records that the target has taken.
    pub fn add_accepted(&self, records: u64) {
        self.accepted.fetch_add(records, Relaxed);
    }

    /// Counts records that the target has refused.
    pub fn add_rejected(&self, records: u64) {
        self.rejected.fetch_add(records, Relaxed);
    }

    /// Sent, accepted, rejected.
    pub fn counts(&self) -> (u64, u64, u64) {
        (
            self.sent.load(Relaxed),
            self.accepted.load(Relaxed),
            self.rejected.load(Relaxed),
        )
    }
}

/// Where the report appears. Log lines go through it too, so that they do not tear the progress bar.
#[derive(Clone)]
pub struct Display(Option<ProgressBar>);

impl Display {
    /// A progress bar when standard error is a terminal. `length` is the number of records to send, where known.
    pub fn new(length: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "{bar:30} {percent}% {msg}, {eta} left",
            ),
            None => (
                ProgressBar::no_length(),
                "{spinner} {elapsed_precise} {msg}",
            ),
        };
        let style =
            ProgressStyle::with_template(template).expect("the template names known fields");
        Self(Some(bar.with_style(style)))
    }

    /// Reports once a second, for ever.
    pub async fn report(&self, totals: &Totals) {
        let mut ticks = interval_at(Instant::now() + REPORT_INTERVAL, REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut then, mut sent_then) = (Instant::now(), totals.counts().0);
        loop {
            let now = ticks.tick().await;
            let (sent, accepted, rejected) = totals.counts();
            let rate = ((sent - sent_then) as f64 / (now - then).as_secs_f64()).round() as u64;
            (then, sent_then) = (now, sent);
            match &self.0 {
                Some(bar) => {
                    bar.set_position(sent);
                    bar.set_message(format!(
                        "sent {sent}, accepted {accepted}, rejected {rejected}, {rate}/s"
                    ));
                }
                None => info!(sent, accepted, rejected, rate, "sending"),
            }
        }
    }

    /// Takes the bar away and says what came of the run.
    pub fn finish(&self, totals: &Totals, took: Duration) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
        let (sent, accepted, rejected) = totals.counts();
        let rate = (sent as f64 / took.as_secs_f64().max(1e-9)).round() as u64;
        info!(
            sent,
            accepted,
            rejected,
            rate,
            seconds = format!("{:.1}", took.as_secs_f64()),
            "done"
        );
    }
}

impl<'a> MakeWriter<'a> for Display {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Display {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bar) => bar.suspend(|| io::stderr().write(line)),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
