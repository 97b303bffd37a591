//! An author's terminal: a folder, commands, and what they printed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::wigwag;

/// A folder in which commands are typed.
pub(crate) struct Desk {
    pub(crate) folder: PathBuf,
}

/// What a command printed, both streams, and whether it did what it was told.
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) is_done: bool,
}

impl Desk {
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// A command of `wigwag`, typed in this folder.
    pub(crate) fn wigwag(&self, arguments: &[&str]) -> Command {
        let mut command = wigwag(&self.folder);
        // Crates are compiled once for all tests.
        command
            .args(arguments)
            .env("CARGO_TARGET_DIR", shared_target());
        command
    }

    pub(crate) fn say(&self, arguments: &[&str]) -> Said {
        said(&mut self.wigwag(arguments))
    }

    /// The same, which must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let said = self.say(arguments);
        assert!(
            said.is_done,
            "wigwag {}: {}",
            arguments.join(" "),
            said.text
        );
        said.text
    }

    /// A line of a README, in the shell.
    pub(crate) fn shell(&self, line: &str) -> String {
        let mut command = Command::new("bash");
        command
            .args(["-ec", line])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", shared_target());
        let said = said(&mut command);
        assert!(said.is_done, "{line}: {}", said.text);
        said.text
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.folder.join(path), text).unwrap();
    }

    /// Replaces text in a file, which must be there.
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.folder.join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, text.replace(from, to));
    }
}

pub(crate) fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Said {
        text: text.concat(),
        is_done: output.status.success(),
    }
}

fn shared_target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("authors")
}

/// What takes minutes, as tools that are installed anew, runs where it is asked for.
pub(crate) fn is_long_run() -> bool {
    std::env::vars().any(|(name, value)| name == "WIGWAG_LONG_TESTS" && value == "1")
}
