//! The layout holds: modules know only those above them in `lib.rs`, and each outside library has its one place.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// As in the documentation of `lib.rs`, from the top; a module may use those before it.
const MODULES: [&str; 19] = [
    "log", "market", "bars", "signal", "plugin", "strategy", "change", "control", "engine",
    "offline", "verify", "ingest", "view", "notify", "http", "metrics", "config", "serve",
    "author",
];

/// Crates that only one part says.
const HOMES: [(&str, &str); 6] = [
    ("rdkafka", "log/kafka"),
    ("rusqlite", "log/embedded"),
    ("wasmtime", "plugin"),
    ("wasmparser", "plugin"),
    ("axum", "http"),
    ("clap", "config"),
];

/// Every source file with its path from `src/` and its text up to its tests.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files)
            } else {
                files.push(path)
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let sources = files
        .into_iter()
        .filter(|f| f.extension().is_some_and(|e| e == "rs"));
    sources
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default()
                .to_owned();
            (
                path.strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
                code,
            )
        })
        .collect()
}

fn module_of(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap()
}

/// Lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

/// What a file uses of the crate: `crate::a::...` and the names in `use crate::{...}`.
fn used(text: &str) -> Vec<String> {
    let code: String = code(text).collect::<Vec<_>>().join("\n");
    let mut used = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            used.push(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap()
                    .to_owned(),
            );
            continue;
        };
        let (mut depth, mut name, mut at_start) = (0, String::new(), true);
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.push(std::mem::take(&mut name));
                    at_start = true;
                }
                c if depth == 0 && at_start && (c.is_alphanumeric() || c == '_') => name.push(c),
                c if !name.is_empty() && c == ':' => at_start = false,
                _ => {}
            }
        }
        used.push(name);
    }
    used.retain(|name| MODULES.contains(&name.as_str()));
    used
}

#[test]
fn arrows_between_modules_point_one_way() {
    let rank = |module: &str| MODULES.iter().position(|m| *m == module);
    let (mut arrows, mut wrong) = (0, Vec::new());
    for (path, text) in sources() {
        let Some(own) = rank(module_of(&path)) else {
            continue;
        };
        for other in used(&text) {
            arrows += 1;
            if rank(&other).is_some_and(|other| other > own) {
                wrong.push(format!("{path} uses {other}"));
            }
        }
    }
    assert!(arrows > 60, "only {arrows} arrows were found");
    // The options hold tokens as HTTP reads them; HTTP knows nothing of the options.
    assert!(wrong.is_empty(), "against the arrows: {wrong:#?}");
}

#[test]
fn each_module_of_the_crate_has_its_rank() {
    for (path, _) in sources() {
        let module = module_of(&path);
        assert!(
            ["lib", "main"].contains(&module) || MODULES.contains(&module),
            "{path} is of no ranked module"
        );
    }
}

#[test]
fn an_outside_library_has_one_home() {
    for (library, home) in HOMES {
        let said: Vec<_> = sources()
            .into_iter()
            .filter(|(path, text)| {
                let says = code(text).any(|line| line.contains(&format!("{library}::")));
                says && !path.starts_with(home) && path != "main.rs"
            })
            .map(|(path, _)| path)
            // The view's store is SQLite too.
            .filter(|path| !(library == "rusqlite" && path.starts_with("view")))
            .collect();
        assert!(
            said.is_empty(),
            "{library} belongs into {home}, and is in {said:?}"
        );
    }
}

#[test]
fn no_file_has_a_name_that_fits_everything() {
    let refused = [
        "utils", "helpers", "common", "types", "models", "manager", "service", "error", "prelude",
        "mod",
    ];
    for (path, _) in sources() {
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        assert!(!refused.contains(&stem), "{path}");
    }
}

#[test]
fn each_file_says_first_what_it_owns() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{path} does not open with //!");
    }
}
