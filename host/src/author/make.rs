//! From a plugin's folder to its component: which language it is in, what that needs, and the tool that does it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use anyhow::{Context, bail};

use super::{bindings, template};
use crate::{config::Language, plugin};

/// What Rust compiles to.
const TARGET: &str = "wasm32-wasip2";

/// The packages of Debian that compile C.
const C_PACKAGES: &str = "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32";

/// A plugin's folder.
pub(super) struct Project {
    folder: PathBuf,
    language: Language,
}

impl Project {
    /// Recognises one by its files.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Self> {
        let marks = [
            ("Cargo.toml", Language::Rust),
            ("strategy.py", Language::Python),
            ("strategy.js", Language::Javascript),
            ("strategy.c", Language::C),
        ];
        let mark = marks
            .into_iter()
            .find(|(file, _)| folder.join(file).is_file());
        let Some((_, language)) = mark else {
            bail!(
                "folder {} is no plugin's: it has none of {}; go into yours, or make one with: wigwag plugin new NAME",
                folder.display(),
                marks.map(|(file, _)| file).join(", ")
            );
        };
        let folder = folder
            .canonicalize()
            .with_context(|| format!("folder {} cannot be read", folder.display()))?;
        Ok(Self { folder, language })
    }

    /// Where its component is put.
    pub(super) fn component(&self) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default();
        let mut file = name.to_os_string();
        file.push(".wasm");
        self.folder.join("build").join(file)
    }

    /// Builds it, unless nothing has changed since it was built.
    pub(super) fn built(&self, out: &mut dyn Write) -> anyhow::Result<PathBuf> {
        let component = self.component();
        let built = fs::metadata(&component).and_then(|meta| meta.modified());
        match built {
            Ok(built) if newest(&self.folder, 0)? <= built => Ok(component),
            _ => build(&self.folder, out),
        }
    }
}

/// When a source of the folder changed last.
fn newest(folder: &Path, depth: usize) -> anyhow::Result<SystemTime> {
    const DEEPEST: usize = 4;
    let mut newest_of_all = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_made =
            ["build", "target", "node_modules", "vendor", "__pycache__"].contains(&&*name);
        if is_made || name.starts_with('.') || ["Cargo.lock", "ticks.csv"].contains(&&*name) {
            continue;
        }
        let meta = entry.metadata()?;
        let changed = match meta.is_dir() {
            true if depth < DEEPEST => newest(&entry.path(), depth + 1)?,
            true => continue,
            false => meta.modified()?,
        };
        newest_of_all = newest_of_all.max(changed);
    }
    Ok(newest_of_all)
}

/// Makes the component, and says where it is.
pub(super) fn build(folder: &Path, out: &mut dyn Write) -> anyhow::Result<PathBuf> {
    let project = Project::of(folder)?;
    let (folder, component) = (&project.folder, project.component());
    check_contract(folder)?;
    let made = folder.join("build");
    fs::create_dir_all(&made).with_context(|| format!("{} cannot be made", made.display()))?;
    match project.language {
        Language::Rust => of_rust(folder, &component)?,
        Language::Python => of_python(folder, &component)?,
        Language::Javascript => of_javascript(folder, &component)?,
        Language::C => of_c(folder, &component)?,
    }
    let bytes =
        fs::read(&component).with_context(|| format!("{} was not made", component.display()))?;
    plugin::check(&bytes).with_context(|| format!("plugin {}", component.display()))?;
    let shown = component
        .strip_prefix(std::env::current_dir()?)
        .unwrap_or(&component);
    writeln!(out, "built {}: {} bytes", shown.display(), bytes.len())?;
    Ok(component)
}

/// The contract that lies in the folder is one that this program speaks.
fn check_contract(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join("wit/plugin.wit");
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "{} cannot be read; `wigwag plugin new` makes one",
            path.display()
        )
    })?;
    let of = |text: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("package wigwag:plugin@"));
        line.map(|line| line.trim_end_matches(';').to_owned())
    };
    let (has, speaks) = (
        of(&text).unwrap_or_default(),
        of(template::WIT).unwrap_or_default(),
    );
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(&has) != major(&speaks) {
        bail!(
            "{} is of wigwag:plugin@{has}, this program speaks {speaks}; take the file that `wigwag plugin new` writes, and with Rust its vendor/ too",
            path.display()
        );
    }
    Ok(())
}

fn of_rust(folder: &Path, component: &Path) -> anyhow::Result<()> {
    let libdir = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output()
        .context("rustc cannot be run; install Rust with rustup")?;
    let libdir = String::from_utf8_lossy(&libdir.stdout).trim().to_owned();
    if !Path::new(&libdir).is_dir() {
        bail!("the target {TARGET} is missing; add it with: rustup target add {TARGET}");
    }
    let mut cargo = Command::new("cargo");
    let arguments = ["build", "--release", "--target", TARGET];
    cargo
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(folder)
        .stderr(Stdio::inherit());
    let ended = cargo
        .output()
        .context("cargo cannot be run; install Rust with rustup")?;
    if !ended.status.success() {
        bail!(
            "cargo {} ended with {}; it says why above",
            arguments.join(" "),
            ended.status
        );
    }
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    let text = String::from_utf8_lossy(&ended.stdout);
    let made = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .flat_map(|message| message.filenames)
        .rfind(|file| file.extension().is_some_and(|e| e == "wasm"));
    let Some(made) = made else {
        bail!(
            "cargo made no .wasm; a plugin's Cargo.toml has [lib] with crate-type = [\"cdylib\", \"rlib\"]"
        );
    };
    fs::copy(&made, component)
        .with_context(|| format!("{} cannot be copied", made.display()))
        .map(drop)
}

fn of_python(folder: &Path, component: &Path) -> anyhow::Result<()> {
    let tool = tool(
        folder,
        ".venv/bin/componentize-py",
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
    )?;
    let mut command = Command::new(tool);
    command.args([
        "-q",
        "-d",
        "wit",
        "-w",
        "plugin",
        "componentize",
        "wigwag",
        "-o",
    ]);
    run(command.arg(component).current_dir(folder))
}

fn of_javascript(folder: &Path, component: &Path) -> anyhow::Result<()> {
    let tool = tool(folder, "node_modules/.bin/componentize-qjs", "npm install")?;
    let mut command = Command::new(tool);
    command.args(["--wit", "wit", "--world", "plugin", "--js", "wigwag.js"]);
    // What it would ask of WASI it does not get: better said by a trap than by a constant.
    command.args(["--sync", "--stub-wasi", "--minify", "-o"]);
    run(command
        .arg(component)
        .current_dir(folder)
        .stdout(Stdio::null()))
}

fn of_c(folder: &Path, component: &Path) -> anyhow::Result<()> {
    let made = folder.join("build");
    let wit = fs::read_to_string(folder.join("wit/plugin.wit"))?;
    bindings::write_for_c(&wit, &made)?;
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_string_lossy().ends_with(".c") && name != "test.c" {
            sources.push(name);
        }
    }
    sources.sort();
    let module = made.join("module.wasm");
    let mut clang = Command::new("clang");
    clang.args(["--target=wasm32-wasi", "-O2", "-mexec-model=reactor"]);
    clang
        .args(["-Wl,--strip-debug", "-Wall", "-I.", "-o"])
        .arg(&module);
    clang
        .args(sources)
        .args(["build/plugin.c", "build/plugin_component_type.o"]);
    if which("clang").is_none() {
        bail!("clang is not found; on Debian: {C_PACKAGES}");
    }
    run(clang.current_dir(folder))
        .with_context(|| format!("where headers or libraries are missing: {C_PACKAGES}"))?;
    let bytes = fs::read(&module).with_context(|| format!("{} was not made", module.display()))?;
    fs::write(component, bindings::component_of(&bytes)?)
        .with_context(|| format!("{} cannot be written", component.display()))
}

/// The tool as it is installed in the plugin's folder, or else by its name.
fn tool(folder: &Path, here: &str, install: &str) -> anyhow::Result<PathBuf> {
    let local = folder.join(here);
    if local.is_file() {
        return Ok(local);
    }
    let name = Path::new(here)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    which(&name).with_context(|| {
        format!("{name} is not found, neither as {here} nor on the PATH; in the plugin's folder: {install}")
    })
}

fn which(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{name} cannot be run"))?;
    if !status.success() {
        bail!("{name} ended with {status}; it says why above");
    }
    Ok(())
}
