//! The embedded log as a subject of the suite: a directory of its own for each test.

use crate::suite::{Fixture, PARTITIONS};
use rusqlite::Connection;
use std::path::PathBuf;
use tempfile::TempDir;
use wigwag::log::{
    LogError, Offset, Topic,
    embedded::{EmbeddedLog, Options},
};

pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    _owned: Option<TempDir>,
}

pub(crate) fn options() -> Options {
    Options {
        partitions: PARTITIONS,
        ..Options::default()
    }
}

impl Directory {
    pub(crate) fn try_open(&self, options: Options) -> Result<EmbeddedLog, LogError> {
        EmbeddedLog::open(&self.path, options)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Any SQLite tool.
    pub(crate) fn sqlite(&self) -> Connection {
        Connection::open(self.file("log.db")).expect("SQLite opens it")
    }

    /// A directory with the same files, as a crash at this instant would leave them.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::create();
        for file in self.path.read_dir().expect("the directory") {
            let file = file.expect("a file").path();
            let name = file.file_name().expect("a name");
            // The index of the WAL is made anew from it.
            if name != "log.db-shm" {
                std::fs::copy(&file, copy.path.join(name)).expect("copied");
            }
        }
        copy
    }
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
        self.try_open(options()).expect("the log opens")
    }

    fn trim(&self, log: &EmbeddedLog, topic: Topic, partition: u32, offset: Offset) {
        log.trim(topic, partition, offset).expect("the log trims");
    }
}
