//! Whose the directory is, and how much was ever committed in it: both in one small file beside the database.

use crate::log::LogError;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The exclusive right to a directory, and the name of the file in it.
pub(super) struct DirectoryLock {
    directory: PathBuf,
    file: File,
    /// None until the first log was created here.
    watermark: Option<u64>,
}

/// Where it is kept how much was ever committed. Written after each commit, so that a database that has lost
/// some is told from one that has not.
pub(super) struct Watermark(File);

/// The lock file: the owner's PID in the first line, the watermark in the second.
pub(super) const LOCK_FILE: &str = "log.lock";
const PID_DIGITS: usize = 10;
const WATERMARK_AT: u64 = PID_DIGITS as u64 + 1;

impl DirectoryLock {
    pub(super) fn acquire(directory: &Path) -> Result<Self, LogError> {
        let unavailable = |detail: String| LogError::Unavailable {
            log: directory.display().to_string(),
            detail,
        };
        std::fs::create_dir_all(directory)
            .map_err(|error| unavailable(format!("cannot be created: {error}")))?;
        let path = directory.join(LOCK_FILE);
        let mut file = (File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path))
        .map_err(|error| unavailable(format!("{} cannot be opened: {error}", path.display())))?;
        let mut text = String::new();
        // What cannot be read of it is as if it were not there: it may be torn by a loss of power.
        let _ = file.read_to_string(&mut text);
        let mut lines = text.lines().map(str::trim);
        let owner = lines
            .next()
            .filter(|pid| !pid.is_empty())
            .unwrap_or("unknown");
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            unavailable(if error == rustix::io::Errno::WOULDBLOCK {
                format!("process {owner} has it; stop that one or use another directory")
            } else {
                format!("{} cannot be locked: {error}", path.display())
            })
        })?;
        let watermark = lines.next().and_then(|text| text.parse().ok());
        let pid = format!("{:<PID_DIGITS$}\n", std::process::id());
        (file.rewind().and_then(|()| file.write_all(pid.as_bytes()))).map_err(|error| {
            unavailable(format!("{} cannot be written: {error}", path.display()))
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            file,
            watermark,
        })
    }

    /// The path of a file in the directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// How much was committed when the directory was last used; none where no log was ever there.
    pub(super) fn watermark(&self) -> Option<u64> {
        self.watermark
    }

    pub(super) fn set_watermark(&self, committed: u64) -> Result<(), LogError> {
        self.to_mark().and_then(|watermark| {
            watermark
                .set(committed)
                .map_err(|error| self.unavailable(&error))
        })
    }

    /// For the writer.
    pub(super) fn to_mark(&self) -> Result<Watermark, LogError> {
        self.file
            .try_clone()
            .map(Watermark)
            .map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &io::Error) -> LogError {
        let log = self.file(LOCK_FILE).display().to_string();
        LogError::Unavailable {
            log,
            detail: format!("it cannot be written: {error}"),
        }
    }

    pub(super) fn release(&self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The watermark of a directory that another may own; none where there is none, or it cannot be read.
pub(super) fn read_watermark(directory: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(directory.join(LOCK_FILE)).ok()?;
    text.lines().nth(1)?.trim().parse().ok()
}

impl Watermark {
    pub(super) fn set(&self, committed: u64) -> io::Result<()> {
        self.0
            .write_all_at(format!("{committed:020}\n").as_bytes(), WATERMARK_AT)
    }
}
