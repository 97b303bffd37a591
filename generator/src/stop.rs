//! The wish to end, as all parts of a run see it.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long what is in hand may still take after the wish to end. A run ends within two seconds;
/// the rest of them is for closing the clients.
pub const GRACE: Duration = Duration::from_millis(1250);

/// Tells whether the run is to end. Clones tell the same.
#[derive(Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

/// Asks the run to end; dropped, it asks too.
pub struct Stopper(watch::Sender<Option<Instant>>);

/// A stop that is not asked for yet.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks the run to end.
    pub fn ask(&self) {
        self.0.send_replace(Some(Instant::now()));
    }
}

impl Stop {
    /// Whether it was asked for.
    pub fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until it is asked for.
    pub async fn asked(&self) {
        // An error says that nobody is left to ask, which is an end as well.
        let _ = self.0.clone().wait_for(Option::is_some).await;
    }

    /// Waits until it was asked for and what was in hand has had its time.
    pub async fn overdue(&self) {
        self.asked().await;
        let asked_at = self.0.borrow().unwrap_or_else(Instant::now);
        sleep_until(asked_at + GRACE).await;
    }
}
