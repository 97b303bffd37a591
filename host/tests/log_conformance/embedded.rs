//! The embedded log as a subject of the suite: a directory of its own for each test.

use crate::suite::{Fixture, PARTITIONS};
use std::path::PathBuf;
use tempfile::TempDir;
use wigwag::log::{
    Offset, Topic,
    embedded::{EmbeddedLog, Options},
};

pub(crate) struct Directory {
    path: PathBuf,
    _owned: Option<TempDir>,
}

impl Fixture for Directory {
    type Log = EmbeddedLog;

    fn create() -> Self {
        let owned = tempfile::tempdir().expect("a directory for the log");
        Self {
            path: owned.path().to_owned(),
            _owned: Some(owned),
        }
    }

    fn attach(address: &str) -> Self {
        Self {
            path: address.into(),
            _owned: None,
        }
    }

    fn address(&self) -> String {
        self.path.to_str().expect("a path that is text").to_owned()
    }

    fn open(&self) -> EmbeddedLog {
        EmbeddedLog::open(
            &self.path,
            Options {
                partitions: PARTITIONS,
                ..Options::default()
            },
        )
        .expect("the log opens")
    }

    fn trim(&self, log: &EmbeddedLog, topic: Topic, partition: u32, offset: Offset) {
        log.trim(topic, partition, offset).expect("the log trims");
    }
}
