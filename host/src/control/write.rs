//! Writes that depend on what is there: decided on everything that was written before, by whatever replica, and written
//! before anything else is. So of two that change a strategy at once, one sees the other's change.

use std::time::Duration;

use rand::RngExt as _;

use super::{Control, SEEN_WITHIN, blocking, catalogue::Catalogue, info::ControlError};
use crate::log::{Append, LogError, SoleWriter, Topic};

/// How often it is tried while other replicas write too, and how long is waited before, at most, times the tries.
const TRIES: u32 = 10;
const AGAIN_WITHIN: Duration = Duration::from_millis(50);

/// The right to write, as long as no other replica takes it.
pub(super) type Writer = Option<Box<dyn SoleWriter>>;

impl Control {
    /// Decides on what there is, writes what comes of it, and waits until our own follower has read it.
    ///
    /// # Errors
    /// As of the decision; [`ControlError::Busy`] while others write again and again; [`ControlError::Unavailable`].
    pub(super) async fn decide<T>(
        &self,
        decision: impl Fn(&Catalogue) -> Result<(Vec<Append>, T), ControlError>,
    ) -> Result<T, ControlError> {
        let mut place = self.writing.lock().await;
        for tries in 1..=TRIES {
            let mut writer = match place.take() {
                Some(writer) => writer,
                None => self.take_writer().await?,
            };
            let decided = decision(&self.shared.catalogue());
            let (appends, outcome) = match decided {
                Ok(decided) => decided,
                Err(error) => {
                    *place = Some(writer);
                    return Err(error);
                }
            };
            let written = blocking(move || {
                let written = writer.append(appends);
                (writer, written)
            });
            let (writer, written) = written.await?;
            match written {
                Ok(()) => {
                    *place = Some(writer);
                    self.read_to_end().await?;
                    return Ok(outcome);
                }
                Err(LogError::Lost { .. }) => {
                    let jitter = rand::rng().random_range(0.1..1.0);
                    tokio::time::sleep(AGAIN_WITHIN.mul_f64(jitter * f64::from(tries))).await;
                }
                Err(error) => return Err(ControlError::Unavailable(error)),
            }
        }
        let message = format!(
            "other replicas changed something each of the {TRIES} times that this was tried; send it again"
        );
        Err(ControlError::Busy { message })
    }

    /// The right to write, and all that was written before is known.
    async fn take_writer(&self) -> Result<Box<dyn SoleWriter>, ControlError> {
        let log = self.log.clone();
        let taken = blocking(move || log.sole_writer()).await?;
        let writer = taken.map_err(ControlError::Unavailable)?;
        self.read_to_end().await?;
        Ok(writer)
    }

    /// Waits until our own follower has read all of `control`.
    pub(super) async fn read_to_end(&self) -> Result<(), ControlError> {
        let log = self.log.clone();
        let bounds = blocking(move || log.bounds(Topic::Control, 0)).await?;
        let end = bounds.map_err(ControlError::Unavailable)?.end;
        let mut read = self.shared.control_read.subscribe();
        let all = tokio::time::timeout(SEEN_WITHIN, read.wait_for(|read| *read >= end));
        match all.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(not_seen()),
        }
    }
}

fn not_seen() -> ControlError {
    let detail = format!(
        "{} was not read to its end within {} s; what was asked for may be done",
        Topic::Control,
        SEEN_WITHIN.as_secs()
    );
    ControlError::Unavailable(LogError::Unavailable {
        log: Topic::Control.to_string(),
        detail,
    })
}
