//! One running instance: every call into a plugin, its budget, and what may go wrong with it. A failed
//! instance is of no more use; the engine makes another.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wasmtime::{Engine, Store, Trap};

use super::{
    bindings::{Batch, Configuration, Output, ParamValue, Plugin, PluginDescription, PluginPre},
    result::{check_output, check_state},
    runtime::{Limits, epochs},
    store::{State, clean},
};

/// Host-side bytes that one call may make the host allocate for what it passes.
const HOSTCALL_BYTES: usize = 64 << 20;

/// Fuel for calls that happen once, as a multiple of a row's: a language's runtime starts in them.
const START_FUEL_FACTOR: u64 = 1_000;

/// An instance of a plugin: one strategy on one partition, with its own memory.
pub struct Instance {
    store: Store<State>,
    plugin: Plugin,
    limits: Limits,
    /// Fuel that all calls together took.
    fuel_used: u64,
}

/// How a plugin failed. Never a refusal, which is the plugin's own answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It trapped: what, and what it said.
    #[error("trapped: {0}; make a test of it, and look where the message points")]
    Trapped(String),
    /// It used up its fuel.
    #[error("used more than its {budget} fuel {}", of_rows(.rows))]
    Fuel {
        /// What it had.
        budget: u64,
        /// For how many rows; none for what is no batch.
        rows: Option<usize>,
    },
    /// It asked for more memory than it may have, and gave up.
    #[error("asked for more than its {limit_bytes} bytes of memory; keep less state")]
    Memory {
        /// What it may have.
        limit_bytes: usize,
    },
    /// It ran past the wall-clock backstop.
    #[error(
        "ran for more than {millis} ms in one call; look for a loop that does not end, or do less work in it"
    )]
    Deadline {
        /// The backstop.
        millis: u64,
    },
    /// It returned what cannot be.
    #[error("returned nonsense: {0}; return what wit/plugin.wit allows")]
    Nonsense(String),
}

fn of_rows(rows: &Option<usize>) -> String {
    match rows {
        // A single event is a row of its own.
        Some(0 | 1) => "for one row; do less work for each tick".to_owned(),
        Some(rows) => format!("for {rows} rows; do less work for each tick"),
        None => "in one call; do less work in it".to_owned(),
    }
}

impl Failure {
    /// The cause's fixed name in `changes`, metrics and API.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Trapped(_) => "trap",
            Self::Fuel { .. } => "fuel",
            Self::Memory { .. } => "memory",
            Self::Deadline { .. } => "deadline",
            Self::Nonsense(_) => "nonsense",
        }
    }
}

/// Why parameters are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The plugin refuses them: each name with its rule.
    #[error("refused: {}", .0.iter().map(|(n, m)| format!("parameter {n:?} {m}")).collect::<Vec<_>>().join("; "))]
    Refused(Vec<(String, String)>),
    /// The plugin failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Severity of a plugin's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For its author.
    Debug,
    /// Worth knowing.
    Info,
    /// May be wrong.
    Warn,
    /// Is wrong.
    Error,
}

/// A line that a plugin logged, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Severity.
    pub level: LogLevel,
    /// Text, bounded.
    pub message: String,
}

impl Instance {
    pub(super) fn start(
        engine: &Engine,
        pre: &PluginPre<State>,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let mut store = Store::new(engine, State::new(&limits));
        store.limiter(|state| state);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        let budget = start_budget(&limits);
        arm(&mut store, &limits, budget);
        match pre.instantiate(&mut store) {
            Ok(plugin) => Ok(Self {
                fuel_used: budget.saturating_sub(store.get_fuel().unwrap_or(0)),
                store,
                plugin,
                limits,
            }),
            Err(error) => Err(failure(&mut store, &limits, (budget, None), &error)),
        }
    }

    /// What the plugin says it is, unchecked.
    pub(super) fn describe(&mut self) -> Result<PluginDescription, Failure> {
        self.call_once(|plugin, store| plugin.wigwag_plugin_strategy().call_describe(store))
    }

    /// Hands over all parameters; returns the ticks of a symbol that it needs before its first value.
    ///
    /// # Errors
    /// The plugin's refusal, by parameter, or its failure.
    pub fn configure(&mut self, params: &[(&str, ParamValue<'_>)]) -> Result<u32, ConfigureError> {
        match self.call_once(|plugin, store| {
            plugin
                .wigwag_plugin_strategy()
                .call_configure(store, params)
        })? {
            Ok(Configuration { warm_up_ticks }) => Ok(warm_up_ticks),
            Err(errors) => Err(ConfigureError::Refused(
                errors
                    .into_iter()
                    .take(100)
                    .map(|e| (clean(&e.name, 64), clean(&e.message, 512)))
                    .collect(),
            )),
        }
    }

    /// Names the symbols numbered from `first` on.
    ///
    /// # Errors
    /// The plugin's failure.
    pub fn define_symbols(&mut self, first: u32, names: &[&str]) -> Result<(), Failure> {
        self.call_once(|plugin, store| {
            plugin
                .wigwag_plugin_strategy()
                .call_define_symbols(store, first, names)
        })
    }

    /// Runs a batch on a budget of fuel; returns what came of it, checked, and the fuel that it took.
    ///
    /// # Errors
    /// The plugin's failure.
    pub fn on_batch(
        &mut self,
        batch: Batch<'_>,
        series: usize,
        fuel: u64,
    ) -> Result<(Output, u64), Failure> {
        let (rows, wanted) = (batch.symbol.len(), batch.wanted.len());
        let before = self.fuel_used;
        let output = self.call((fuel, Some(rows)), |plugin, store| {
            plugin.wigwag_plugin_strategy().call_on_batch(store, batch)
        })?;
        check_output(&output, rows, wanted, series)?;
        Ok((output, self.fuel_used - before))
    }

    /// The states of these symbols, in their order; empty where there is none.
    ///
    /// # Errors
    /// The plugin's failure.
    pub fn snapshot(&mut self, symbols: &[u32]) -> Result<Vec<Vec<u8>>, Failure> {
        let states = self.call_once(|plugin, store| {
            plugin
                .wigwag_plugin_strategy()
                .call_snapshot(store, symbols)
        })?;
        if states.len() != symbols.len() {
            let (got, wanted) = (states.len(), symbols.len());
            return Err(Failure::Nonsense(format!(
                "snapshot gave {got} states for {wanted} symbols"
            )));
        }
        states.iter().try_for_each(|state| check_state(state))?;
        Ok(states)
    }

    /// Puts states back.
    ///
    /// # Errors
    /// The plugin's failure; a refusal of its own state is nonsense.
    pub fn restore(&mut self, states: &[(u32, &[u8])]) -> Result<(), Failure> {
        self.call_symbols(states.len(), |plugin, store| {
            plugin.wigwag_plugin_strategy().call_restore(store, states)
        })?
        .map_err(|m| {
            Failure::Nonsense(format!(
                "restore refused its own snapshot: {}",
                clean(&m, 512)
            ))
        })
    }

    /// The state that belongs to no symbol.
    ///
    /// # Errors
    /// The plugin's failure.
    pub fn snapshot_shared(&mut self) -> Result<Vec<u8>, Failure> {
        let shared = self.call_once(|plugin, store| {
            plugin.wigwag_plugin_strategy().call_snapshot_shared(store)
        })?;
        check_state(&shared)?;
        Ok(shared)
    }

    /// Puts the shared state back.
    ///
    /// # Errors
    /// The plugin's failure; a refusal of its own state is nonsense.
    pub fn restore_shared(&mut self, state: &[u8]) -> Result<(), Failure> {
        self.call_once(|plugin, store| {
            plugin
                .wigwag_plugin_strategy()
                .call_restore_shared(store, state)
        })?
        .map_err(|m| {
            Failure::Nonsense(format!(
                "restore refused its own snapshot: {}",
                clean(&m, 512)
            ))
        })
    }

    /// Fuel that it took in all, from its start on.
    #[must_use]
    pub const fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Memory and tables that it has, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes()
    }

    /// What the plugin logged since the last look, and how many lines were left out.
    pub fn take_log(&mut self) -> (Vec<LogLine>, u64) {
        let state = self.store.data_mut();
        (
            std::mem::take(&mut state.log),
            std::mem::take(&mut state.log_dropped),
        )
    }

    /// A call whose budget grows with the symbols that it is about.
    fn call_symbols<T>(
        &mut self,
        symbols: usize,
        call: impl FnOnce(&Plugin, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let budget = self.limits.row_fuel.saturating_mul(1 + symbols as u64);
        self.call((budget, None), call)
    }

    fn call_once<T>(
        &mut self,
        call: impl FnOnce(&Plugin, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.call((start_budget(&self.limits), None), call)
    }

    /// A call on a budget, which is for so many rows.
    fn call<T>(
        &mut self,
        (budget, rows): (u64, Option<usize>),
        call: impl FnOnce(&Plugin, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        arm(&mut self.store, &self.limits, budget);
        let answer = call(&self.plugin, &mut self.store);
        self.fuel_used += budget.saturating_sub(self.store.get_fuel().unwrap_or(0));
        answer.map_err(|error| failure(&mut self.store, &self.limits, (budget, rows), &error))
    }
}

const fn start_budget(limits: &Limits) -> u64 {
    limits.row_fuel.saturating_mul(START_FUEL_FACTOR)
}

fn arm(store: &mut Store<State>, limits: &Limits, budget: u64) {
    store.set_fuel(budget).expect("fuel is configured");
    store.set_epoch_deadline(epochs(limits.deadline));
    store.data_mut().memory_refused = false;
}

fn failure(
    store: &mut Store<State>,
    limits: &Limits,
    (budget, rows): (u64, Option<usize>),
    error: &wasmtime::Error,
) -> Failure {
    let state = store.data_mut();
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Failure::Fuel { budget, rows },
        Some(Trap::Interrupt) => Failure::Deadline {
            millis: u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX),
        },
        _ if state.memory_refused => Failure::Memory {
            limit_bytes: limits.memory_bytes,
        },
        trap => {
            let what = trap.map_or_else(|| format!("{error:#}"), ToString::to_string);
            // A panic's message is the last line that it logged, or what its runtime wrote to standard error.
            let logged = state
                .log
                .last()
                .filter(|l| l.level == LogLevel::Error)
                .map(|l| l.message.clone());
            let said = logged.unwrap_or_else(|| state.take_stderr());
            let text = if said.is_empty() {
                what
            } else {
                format!("{said} ({what})")
            };
            Failure::Trapped(clean(&text, 1024))
        }
    }
}
