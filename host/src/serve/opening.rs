//! Opens the log that the options name. Brokers that are away are waited for, and said so; what does not fit ends the
//! service.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    config::{LogUrl, ServeOptions, SyncMode},
    log::{
        Log, LogError,
        embedded::{self, EmbeddedLog},
        kafka::{self, KafkaLog},
    },
};

/// Between two tries to reach the brokers.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Why the service is not there yet, for a person.
#[derive(Clone, Default)]
pub(super) struct Waits(Arc<Mutex<Option<String>>>);

impl Waits {
    pub(super) fn reason(&self) -> String {
        let reason = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason
            .clone()
            .unwrap_or_else(|| "the log is being opened".to_owned())
    }

    fn tell(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

pub(super) async fn open_log(
    options: &ServeOptions,
    waits: &Waits,
) -> anyhow::Result<Arc<dyn Log>> {
    match &options.log.url {
        LogUrl::Embedded => {
            let sync = match options.sync {
                SyncMode::Full => embedded::Sync::Full,
                SyncMode::Normal => embedded::Sync::Normal,
            };
            let settings = embedded::Options {
                partitions: options.log.partitions(),
                sync,
                ..embedded::Options::default()
            };
            let folder = options.log.data_dir.clone();
            let open = move || EmbeddedLog::open(&folder, settings);
            Ok(Arc::new(tokio::task::spawn_blocking(open).await??))
        }
        LogUrl::Kafka(brokers) => {
            let settings = kafka::Options {
                replication: options.replication,
                group_session_timeout: Duration::from_millis(options.session_timeout),
                ..options.log.kafka(brokers)
            };
            Ok(Arc::new(reach(settings, waits).await?))
        }
    }
}

async fn reach(settings: kafka::Options, waits: &Waits) -> anyhow::Result<KafkaLog> {
    let mut waited = false;
    loop {
        let settings = settings.clone();
        match tokio::task::spawn_blocking(|| KafkaLog::open(settings)).await? {
            Ok(log) => {
                if waited {
                    tracing::info!("the log is there");
                }
                return Ok(log);
            }
            Err(error @ LogError::Unavailable { .. }) => {
                if !waited {
                    tracing::warn!(%error, "waiting for the log");
                }
                waited = true;
                waits.tell(error.to_string());
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
