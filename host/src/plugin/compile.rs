//! Compiles components in a child process under limits: compile-time denial of service is out of scope for
//! wasmtime, and a 29 kB component can keep it busy for a minute with 1.7 GB. This is the parent's side, and the cache.

mod child;

use std::{
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Once, mpsc},
    time::Duration,
};

use sha2::Sha256;
use wasmtime::Engine;

use self::child::{LIMITS_FAILED, OK, REFUSED, SEALED};
use super::{digest::Digest, store::clean};

pub use self::child::compile_child;

/// What compiling one component may take; grows with its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU seconds; of wall-clock time it has many times that.
    pub cpu_seconds: u64,
    /// Address space in bytes.
    pub memory_bytes: u64,
}

impl CompileLimits {
    /// The limits for a component of this many bytes.
    #[must_use]
    pub const fn for_size(bytes: usize) -> Self {
        let bytes = bytes as u64;
        Self {
            cpu_seconds: 5 + 2 * bytes / 1_000_000,
            memory_bytes: (256 << 20) + 64 * bytes,
        }
    }
}

/// Wall-clock time that the child has for its CPU time: it gives way to whoever trades, and cannot wait for anything but
/// its turn.
const PATIENCE: u64 = 20;

/// Runs the compiling child and keeps what it made.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    cache: Option<PathBuf>,
}

/// Why a component was not compiled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it.
    #[error("cannot be compiled: {0}; build it without what the message names")]
    Refused(String),
    /// It took more than it may.
    #[error(
        "is too costly to compile: more than {} s of CPU or {} MiB for {bytes} bytes; make its functions smaller",
        limits.cpu_seconds, limits.memory_bytes >> 20
    )]
    TooCostly {
        /// The component's size.
        bytes: usize,
        /// What it had.
        limits: CompileLimits,
    },
    /// It did not come to its end, without having used up what it may: no fault of the component.
    #[error(
        "was not compiled within {seconds} s, since the machine has too much else to do; send it again later"
    )]
    Slow {
        /// How long was waited.
        seconds: u64,
    },
    /// The child could not be run at all: no fault of the component.
    #[error(
        "the compiling process {program:?} cannot be run: {detail}; have the operator see that the service may start it, and send the plugin again"
    )]
    Child {
        /// What was started.
        program: PathBuf,
        /// What happened.
        detail: String,
    },
}

impl Compiler {
    /// Compiles by `program compile-plugin` (this very program), and keeps results in a folder where one is given.
    #[must_use]
    pub const fn new(program: PathBuf, cache: Option<PathBuf>) -> Self {
        Self { program, cache }
    }

    /// The compiled form of a component.
    pub(super) fn compile(
        &self,
        engine: &Engine,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Vec<u8>, CompileError> {
        let path = self
            .cache
            .as_ref()
            .map(|folder| folder.join(cache_name(engine, digest)));
        if let Some(artefact) = path.as_deref().and_then(read_cached) {
            return Ok(artefact);
        }
        let artefact = self.run_child(bytes)?;
        if let Some(path) = &path
            && let Err(error) = write_cached(path, &artefact)
        {
            tracing::warn!(path = %path.display(), %error, "compiled plugin not cached");
        }
        Ok(artefact)
    }

    fn run_child(&self, bytes: &[u8]) -> Result<Vec<u8>, CompileError> {
        let failed = |detail: &dyn std::fmt::Display| CompileError::Child {
            program: self.program.clone(),
            detail: detail.to_string(),
        };
        let limits = CompileLimits::for_size(bytes.len());
        let mut child = Command::new(&self.program)
            .arg("compile-plugin")
            .arg(limits.cpu_seconds.to_string())
            .arg(limits.memory_bytes.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| failed(&e))?;
        let patience = limits.cpu_seconds * PATIENCE;
        let answer = exchange(&mut child, bytes, Duration::from_secs(patience));
        let _ = child.kill();
        let status = child.wait().map_err(|e| failed(&e))?;
        let Some(answer) = answer else {
            return Err(CompileError::Slow { seconds: patience });
        };
        if answer.get(1).is_some_and(|seal| *seal != SEALED) {
            tell_once_that_it_is_not_sealed();
        }
        match answer.split_at_checked(2) {
            Some(([OK, _], artefact)) if status.success() => Ok(artefact.to_vec()),
            Some(([REFUSED, _], why)) if status.success() => Err(CompileError::Refused(clean(
                &String::from_utf8_lossy(why),
                1024,
            ))),
            _ if status.code() == Some(LIMITS_FAILED) => Err(failed(&"its limits cannot be set")),
            // It is killed at its limit of CPU; where memory is refused it ends itself.
            _ if status.signal().is_some() => Err(CompileError::TooCostly {
                bytes: bytes.len(),
                limits,
            }),
            _ => Err(failed(&format_args!(
                "it ended with {status} and no answer"
            ))),
        }
    }
}

fn tell_once_that_it_is_not_sealed() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "the kernel takes no filter of system calls (seccomp): plugins are compiled under limits of CPU, memory and \
             files alone"
        );
    });
}

/// Sends the component and takes the answer; none after `patience`.
fn exchange(child: &mut Child, bytes: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Some(Vec::new());
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        // A child that dies while it reads is seen by its missing answer.
        scope.spawn(move || drop(stdin.write_all(bytes)));
        scope.spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.read_to_end(&mut answer);
            let _ = sender.send(if read.is_ok() { answer } else { Vec::new() });
        });
        let answer = receiver.recv_timeout(patience).ok();
        // Ends both threads: their pipes break.
        let _ = child.kill();
        answer
    })
}

/// Says everything that an artefact depends on, so that another version or machine never finds it.
fn cache_name(engine: &Engine, digest: Digest) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}.cwasm", hasher.finish())
}

/// A cached file is its artefact behind the artefact's SHA-256; one that does not agree is as good as none.
fn read_cached(path: &Path) -> Option<Vec<u8>> {
    use sha2::Digest as _;
    let file = std::fs::read(path).ok()?;
    let (digest, artefact) = file.split_at_checked(32)?;
    (Sha256::digest(artefact).as_slice() == digest).then(|| artefact.to_vec())
}

fn write_cached(path: &Path, artefact: &[u8]) -> std::io::Result<()> {
    use sha2::Digest as _;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&Sha256::digest(artefact))?;
    file.write_all(artefact)?;
    file.persist(path)?;
    Ok(())
}
