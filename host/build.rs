//! Compiles the built-in plugins to components, by cargo, into this crate's output folder; `built_in.rs` embeds
//! them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "wasm32-wasip2";
/// The packages of the built-ins, and of those that the tests need.
const PLUGINS: [&str; 8] = [
    "wigwag-ma",
    "wigwag-ema",
    "wigwag-rsi",
    "wigwag-misbehave",
    "macd-cross",
    "bollinger-breakout",
    "confluence",
    "panel",
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("..");
    for watched in [
        "plugins/sdk",
        "plugins/indicators",
        "plugins/ma",
        "plugins/ema",
        "plugins/rsi",
        "plugins/examples/macd-cross",
        "plugins/examples/bollinger-breakout",
        "plugins/examples/confluence",
        "plugins/examples/panel",
        "plugins/hostile/misbehave",
        "wit",
    ] {
        let watched = root.join(watched);
        for part in ["src", "Cargo.toml", "plugin.wit"] {
            if watched.join(part).exists() {
                println!("cargo::rerun-if-changed={}", watched.join(part).display());
            }
        }
    }
    for watched in ["Cargo.toml", "dashboard/dist"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    check_target();

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let target_dir = out.join("plugins");
    let mut cargo = Command::new(env::var_os("CARGO").expect("set by cargo"));
    cargo.current_dir(&root).args([
        "build",
        "--locked",
        "--profile",
        "plugin",
        "--target",
        TARGET,
    ]);
    cargo.arg("--target-dir").arg(&target_dir);
    for plugin in PLUGINS {
        cargo.args(["-p", plugin]);
    }
    // What this build was told of its own compiler and flags is not for theirs.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_ENCODED_")
            || name_text.starts_with("RUSTC_")
            || name_text == "RUSTFLAGS"
        {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(
        status.success(),
        "the built-in plugins do not compile: see above"
    );
    let built = target_dir.join(TARGET).join("plugin");
    for plugin in PLUGINS {
        let name = plugin.strip_prefix("wigwag-").unwrap_or(plugin);
        copy(
            &built.join(format!("{}.wasm", plugin.replace('-', "_"))),
            &out.join(format!("{name}.wasm")),
        );
    }
}

fn check_target() {
    let rustc = env::var_os("RUSTC").expect("set by cargo");
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let folder = printed
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default();
    assert!(
        Path::new(&folder).is_dir(),
        "the target {TARGET} is missing, for which the built-in plugins are compiled; add it with: rustup target add {TARGET}"
    );
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to)
        .unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), to.display()));
}
