//! Which component a command is about: a file, a plugin's folder, or a built-in.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::make::Project;
use crate::plugin::BUILT_IN;

/// A component and where it comes from.
pub(super) struct Found {
    /// As a person calls it.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// The plugin's folder, where it has one.
    pub(super) folder: Option<PathBuf>,
}

/// Finds it; what is in a folder is built where it has changed.
pub(super) fn find(subject: &str, out: &mut dyn Write) -> anyhow::Result<Found> {
    let path = Path::new(subject);
    let (file, folder) = if path.is_dir() {
        (Project::of(path)?.built(out)?, Some(path.to_owned()))
    } else if path.is_file() {
        (path.to_owned(), None)
    } else if let Some((_, bytes)) = BUILT_IN.iter().find(|(name, _)| *name == subject) {
        return Ok(Found {
            name: subject.to_owned(),
            bytes: bytes.to_vec(),
            folder: None,
        });
    } else {
        let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        bail!(
            "plugin {subject:?} is neither a file, nor a folder, nor a built-in ({})",
            names.join(", ")
        )
    };
    let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(Found {
        name: name.into_owned(),
        bytes,
        folder,
    })
}
