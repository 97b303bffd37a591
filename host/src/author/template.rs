//! The folders that `wigwag plugin new` makes: a template for each language, the ticks that all share, the contract, and for
//! Rust the SDK's sources, since no registry has them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rust_embed::RustEmbed;

use crate::config::Language;

#[derive(RustEmbed)]
#[folder = "../plugins/templates"]
struct Templates;

#[derive(RustEmbed)]
#[folder = "../plugins/sdk/src"]
struct Sdk;

#[derive(RustEmbed)]
#[folder = "../plugins/indicators/src"]
struct Indicators;

/// The contract that this program speaks.
pub(super) const WIT: &str = include_str!("../../../wit/plugin.wit");

const WORKSPACE: &str = include_str!("../../../Cargo.toml");
const SDK: &str = include_str!("../../../plugins/sdk/Cargo.toml");
const INDICATORS: &str = include_str!("../../../plugins/indicators/Cargo.toml");

/// What stands in a template for the plugin's name.
const NAME: &str = "{{name}}";

/// Makes the folder `name` in `parent`.
pub(super) fn new(
    parent: &Path,
    name: &str,
    language: Language,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let is_name = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !is_name {
        bail!("name is {name:?}; use 1 to 64 characters from a-z 0-9 -, starting with a letter");
    }
    let folder = parent.join(name);
    if folder.exists() {
        bail!(
            "folder {} exists; choose another name, or remove it",
            folder.display()
        );
    }
    for (path, bytes) in files(language)? {
        let path = folder.join(path);
        let of_file = || format!("{} cannot be written", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(of_file)?;
        }
        let bytes = match std::str::from_utf8(&bytes) {
            Ok(text) => text.replace(NAME, name).into_bytes(),
            Err(_) => bytes,
        };
        fs::write(&path, bytes).with_context(of_file)?;
    }
    let own = match language {
        Language::Rust => "src/lib.rs",
        Language::Python => "strategy.py",
        Language::Javascript => "strategy.js",
        Language::C => "strategy.c",
    };
    let setup = match language {
        Language::Rust => "",
        Language::Python => {
            "  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt\n"
        }
        Language::Javascript => "  npm install\n",
        Language::C => "",
    };
    writeln!(
        out,
        "made {name}: the strategy is {name}/{own}, the rest is in {name}/README.md; now\n\n  cd {name}\n{setup}  wigwag plugin build && wigwag plugin test && wigwag plugin push"
    )?;
    Ok(())
}

/// Path and contents of each file.
fn files(language: Language) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = match language {
        Language::Rust => "rust/",
        Language::Python => "python/",
        Language::Javascript => "javascript/",
        Language::C => "c/",
    };
    let mut files = vec![(PathBuf::from("wit/plugin.wit"), WIT.as_bytes().to_vec())];
    for path in Templates::iter() {
        let Some(to) = path
            .strip_prefix(folder)
            .or_else(|| path.strip_prefix("shared/"))
        else {
            continue;
        };
        // So named, a manifest is none of this repository's, and git takes no rules from it.
        let to = match to {
            "gitignore" => ".gitignore",
            to => to.strip_suffix(".in").unwrap_or(to),
        };
        files.push((to.into(), bytes_of::<Templates>(&path)));
    }
    if language == Language::Rust {
        vendor::<Sdk>("wigwag-plugin", SDK, &mut files)?;
        vendor::<Indicators>("wigwag-indicators", INDICATORS, &mut files)?;
    }
    Ok(files)
}

fn bytes_of<T: RustEmbed>(path: &str) -> Vec<u8> {
    T::get(path)
        .map(|file| file.data.into_owned())
        .unwrap_or_default()
}

/// A crate of this repository, in `vendor/`, with a manifest that stands for itself.
fn vendor<T: RustEmbed>(
    name: &str,
    manifest: &str,
    files: &mut Vec<(PathBuf, Vec<u8>)>,
) -> anyhow::Result<()> {
    let folder = Path::new("vendor").join(name);
    for path in T::iter() {
        files.push((folder.join("src").join(&*path), bytes_of::<T>(&path)));
    }
    files.push((
        folder.join("Cargo.toml"),
        standing_alone(manifest)?.into_bytes(),
    ));
    Ok(())
}

/// The manifest with what it takes from the workspace written out, less lints and what only its own tests need.
fn standing_alone(manifest: &str) -> anyhow::Result<String> {
    let mut manifest: toml::Table = manifest.parse()?;
    let workspace: toml::Table = WORKSPACE.parse()?;
    let of_workspace = |table: &str, key: &str| {
        let value = workspace["workspace"].get(table).and_then(|t| t.get(key));
        value
            .cloned()
            .with_context(|| format!("the workspace has no {table}.{key}"))
    };
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    let is_inherited = |value: &toml::Value| value.get("workspace").is_some();
    if let Some(toml::Value::Table(package)) = manifest.get_mut("package") {
        for (key, value) in package.iter_mut().filter(|(_, value)| is_inherited(value)) {
            *value = of_workspace("package", key)?;
        }
    }
    let target = "cfg(target_family = \"wasm\")";
    let mut of_target = match manifest.remove("target") {
        Some(toml::Value::Table(mut targets)) => targets.remove(target),
        _ => None,
    };
    let tables = [
        Some(&mut manifest),
        of_target.as_mut().and_then(toml::Value::as_table_mut),
    ];
    for table in tables.into_iter().flatten() {
        let Some(toml::Value::Table(dependencies)) = table.get_mut("dependencies") else {
            continue;
        };
        for (key, value) in dependencies
            .iter_mut()
            .filter(|(_, value)| is_inherited(value))
        {
            *value = of_workspace("dependencies", key)?;
            if let Some(path) = value.get_mut("path") {
                *path = format!("../{key}").into();
            }
        }
    }
    if let Some(of_target) = of_target {
        let targets = toml::Table::from_iter([(target.to_owned(), of_target)]);
        manifest.insert("target".to_owned(), targets.into());
    }
    Ok(manifest.to_string())
}
