//! The one wasmtime engine of a process, its settings and limits, and components that are ready to run.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use wasmtime::{
    Config, Engine, OptLevel,
    component::{Component, HasSelf, Linker},
};

use super::{
    bindings::{self, PluginPre},
    check::{CheckError, check},
    compile::{CompileError, Compiler},
    conformance::ConformanceError,
    description::{Description, DescriptionError},
    digest::Digest,
    instance::{Failure, Instance},
    store::State,
    wasi,
};

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All memories and tables of an instance together, in bytes; a table's entry counts 8.
    pub memory_bytes: usize,
    /// Fuel for one row, and for each call that takes no rows. About one a WebAssembly instruction.
    pub row_fuel: u64,
    /// Wall-clock backstop of one call.
    pub deadline: Duration,
}

impl Default for Limits {
    /// 128 MiB hold the runtimes of Python and JavaScript; ten million instructions are some milliseconds; and no
    /// call within its fuel comes near a second, so that the deadline strikes only where fuel cannot count.
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            row_fuel: 10_000_000,
            deadline: Duration::from_secs(1),
        }
    }
}

/// The stack of a component's calls: a quarter of a thread's, of which the host needs some too.
const STACK_BYTES: usize = 512 << 10;

/// How often the deadline's clock ticks.
const EPOCH: Duration = Duration::from_millis(20);

/// The engine under which all plugins of a process run. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
    compiler: Compiler,
    limits: Limits,
    /// Ends the thread that ticks the deadline's clock.
    _ticking: Arc<Ticking>,
}

struct Ticking(Arc<AtomicBool>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The settings that compile and run must share: an artefact of others is refused.
pub(super) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // An empty call costs 160 to 370 ns without it, 770 to 1000 with it.
        .concurrency_support(false)
        .wasm_relaxed_simd(false)
        .consume_fuel(true)
        // Nobody is shown one, and a plugin may trap at each row.
        .wasm_backtrace_max_frames(None)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        // The host lets no not-a-number in or out; canonicalising each costs 60 %.
        .cranelift_nan_canonicalization(false)
        .max_wasm_stack(STACK_BYTES);
    Engine::new(&config)
}

/// Plugins cannot be run on this machine.
#[derive(Debug, thiserror::Error)]
#[error("wasmtime cannot run here: {0}")]
pub struct RuntimeError(String);

/// Why a component cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Refused before it was compiled.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Refused by, or too much for, the compiler.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It does not fit the contract's functions and types.
    #[error("does not fit wigwag:plugin@1.0.0: {0}; rebuild it against wit/plugin.wit")]
    Link(String),
    /// `describe` failed.
    #[error("describe failed: {0}")]
    Describe(Failure),
    /// `describe` says what cannot be.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// Its results do not follow from its ticks alone.
    #[error(transparent)]
    Conformance(#[from] ConformanceError),
}

impl LoadError {
    /// Whether the service could not do its part, so that it may be tried again.
    #[must_use]
    pub const fn is_no_fault_of_it(&self) -> bool {
        let Self::Compile(error) = self else {
            return false;
        };
        matches!(
            error,
            CompileError::Slow { .. } | CompileError::Child { .. }
        )
    }

    /// The stage at which it was refused, as the API names it.
    #[must_use]
    pub const fn stage(&self) -> &'static str {
        match self {
            Self::Check(_) => "check",
            Self::Compile(_) => "compile",
            Self::Link(_) => "link",
            Self::Describe(_) | Self::Description(_) => "describe",
            Self::Conformance(_) => "conformance",
        }
    }
}

impl Runtime {
    /// Starts the engine and its deadline's clock.
    ///
    /// # Errors
    /// Where wasmtime does not support this machine.
    pub fn try_new(compiler: Compiler, limits: Limits) -> Result<Self, RuntimeError> {
        let engine = engine().map_err(|e| RuntimeError(format!("{e:#}")))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (weak, stopped) = (engine.weak(), stop.clone());
        let ticking = std::thread::Builder::new()
            .name("plugin-epoch".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed)
                    && let Some(engine) = weak.upgrade()
                {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(EPOCH);
                }
            });
        ticking.map_err(|e| RuntimeError(e.to_string()))?;
        Ok(Self {
            engine,
            compiler,
            limits,
            _ticking: Arc::new(Ticking(stop)),
        })
    }

    /// The limits of each instance.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Checks, compiles and describes a component. Takes as long as its compilation.
    ///
    /// # Errors
    /// The stage that refused it, with cause and cure.
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        check(bytes)?;
        let digest = Digest::of(bytes);
        let artefact = self.compiler.compile(&self.engine, digest, bytes)?;
        let component =
            deserialize(&self.engine, &artefact).map_err(|e| LoadError::Link(format!("{e:#}")))?;
        let pre = link(&self.engine, &component).map_err(|e| LoadError::Link(format!("{e:#}")))?;
        let describe = || Instance::start(&self.engine, &pre, self.limits)?.describe();
        let described = match describe() {
            // The wall clock may have struck because the machine stood still.
            Err(Failure::Deadline { .. }) => describe(),
            described => described,
        };
        let description = Description::try_from(described.map_err(LoadError::Describe)?)?;
        Ok(Arc::new(Plugin {
            engine: self.engine.clone(),
            pre,
            limits: self.limits,
            digest,
            description,
        }))
    }
}

#[expect(
    unsafe_code,
    reason = "loading compiled code is unsafe by nature; it comes only from our own compiler"
)]
fn deserialize(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `Compiler` made these bytes in its own process, and whatever it cached was checked against the
    // digest written with it.
    unsafe { Component::deserialize(engine, artefact) }
}

fn link(engine: &Engine, component: &Component) -> wasmtime::Result<PluginPre<State>> {
    let mut linker = Linker::new(engine);
    bindings::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    wasi::define(&mut linker, &component.component_type())?;
    PluginPre::new(linker.instantiate_pre(component)?)
}

/// A component, compiled and described.
pub struct Plugin {
    engine: Engine,
    pre: PluginPre<State>,
    limits: Limits,
    digest: Digest,
    description: Description,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({:?}, {:?})", self.description.name, self.digest)
    }
}

impl Plugin {
    /// Its identity.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says of itself.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// The limits under which it runs.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A fresh instance with a memory of its own.
    ///
    /// # Errors
    /// Where its start traps or goes over a limit.
    pub fn instantiate(&self) -> Result<Instance, Failure> {
        Instance::start(&self.engine, &self.pre, self.limits)
    }
}

/// Ticks of the deadline's clock that make up a deadline.
pub(super) fn epochs(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_millis().div_ceil(EPOCH.as_millis()))
        .unwrap_or(u64::MAX)
        .max(1)
}
