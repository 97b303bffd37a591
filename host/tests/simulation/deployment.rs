//! Plugins and strategies as each process knows them: one truth that changes, and views that follow it at their own
//! pace, as the followers of `control` do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use wigwag::{
    bars::Interval,
    engine::Deployment,
    plugin::{BUILT_IN, Compiler, Digest, Limits, Plugin, Runtime},
    strategy::Strategy,
};

use super::support::{self, MISBEHAVE, on_bars};

/// The plugins under small limits, so that a row that eats its budget costs little. The deadline never strikes: it is
/// one of the wall clock, which decides nothing here.
pub(crate) fn plugins() -> &'static [Arc<Plugin>] {
    static PLUGINS: OnceLock<(Runtime, Vec<Arc<Plugin>>)> = OnceLock::new();
    let (_, plugins) = PLUGINS.get_or_init(|| {
        let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let compiler = Compiler::new(env!("CARGO_BIN_EXE_wigwag").into(), Some(cache));
        let limits = Limits {
            memory_bytes: 4 << 20,
            row_fuel: 100_000,
            deadline: Duration::from_secs(24 * 60 * 60),
        };
        let runtime = Runtime::try_new(compiler, limits).expect("wasmtime runs here");
        let all = BUILT_IN.iter().map(|(_, bytes)| *bytes).chain([MISBEHAVE]);
        let plugins = all
            .map(|bytes| runtime.load(bytes).expect("loads"))
            .collect();
        (runtime, plugins)
    });
    plugins
}

pub(crate) fn find(digest: Digest) -> Option<Arc<Plugin>> {
    plugins().iter().find(|p| p.digest() == digest).cloned()
}

/// What a strategy may be defined as; each id has several.
fn definitions() -> &'static BTreeMap<&'static str, Vec<Arc<Strategy>>> {
    static DEFINITIONS: OnceLock<BTreeMap<&'static str, Vec<Arc<Strategy>>>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| {
        let periods = |id, plugin| -> Vec<_> {
            let of = |(period, interval_ms)| {
                define(id, plugin, json!({ "period": period }), interval_ms, None)
            };
            [(2, 0), (3, 1000), (5, 0)].map(of).to_vec()
        };
        let misbehaving =
            |id: &str, how: &str| define(id, "misbehave", json!({ "how": how }), 1000, None);
        let hostile = |how: &str| misbehaving("bad", how);
        let hostile_on_bars = |how: &str| on_bars(misbehaving("bad-bars", how), Interval::Second);
        let period = |id, plugin, period| define(id, plugin, json!({ "period": period }), 0, None);
        let hows = ["panic", "loop", "memory", "strength", "flood", "infinite"];
        let some = |symbols: &[&str]| {
            let symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
            define(
                "some",
                "misbehave",
                json!({"how": "panic"}),
                0,
                Some(symbols),
            )
        };
        BTreeMap::from([
            ("bad", hows.map(hostile).to_vec()),
            ("bad-bars", hows.map(hostile_on_bars).to_vec()),
            ("ema", periods("ema", "ema")),
            ("ma", periods("ma", "ma")),
            (
                "ma-bars",
                vec![
                    on_bars(period("ma-bars", "ma", 2), Interval::Second),
                    on_bars(period("ma-bars", "ma", 3), Interval::Minute),
                    period("ma-bars", "ma", 2),
                ],
            ),
            ("rsi", periods("rsi", "rsi")),
            (
                "some",
                vec![some(&["S0-0", "S1-1"]), some(&["S0-1", "S0-3", "S1-0"])],
            ),
        ])
    })
}

fn define(
    id: &str,
    plugin: &str,
    params: Value,
    values_interval_ms: u32,
    symbols: Option<Vec<String>>,
) -> Arc<Strategy> {
    let strategy = support::strategy(id, plugin, params);
    Arc::new(Strategy {
        values_interval_ms,
        symbols,
        ..Strategy::clone(&strategy)
    })
}

/// All plugins and strategies at one moment.
#[derive(Clone, Debug, Default)]
struct State {
    version: u64,
    strategies: BTreeMap<String, Arc<Strategy>>,
    /// Whether `misbehave` was uploaded.
    hostile: bool,
}

/// What is written in `control`.
pub(crate) struct Truth(Vec<Arc<State>>);

impl Truth {
    /// Some strategies from the start.
    pub(crate) fn new(dice: &mut ChaCha8Rng) -> Self {
        let mut truth = Self(vec![Arc::default()]);
        for _ in 0..dice.random_range(1..=3) {
            truth.change(dice);
        }
        truth
    }

    /// Someone defines, changes, disables or removes a strategy; says what.
    pub(crate) fn change(&mut self, dice: &mut ChaCha8Rng) -> String {
        let mut state = State::clone(self.newest());
        state.version += 1;
        let ids: Vec<_> = definitions().keys().copied().collect();
        let id = ids[dice.random_range(0..ids.len())];
        let shadow_id = Strategy::shadow_id(id);
        let of = &definitions()[id];
        let any = of[dice.random_range(0..of.len())].clone();
        let shadow = state.strategies.remove(&shadow_id);
        let what = match (state.strategies.get(id).cloned(), dice.random_range(0..14)) {
            (Some(_), 0..2) => {
                state.strategies.remove(id);
                "removed"
            }
            (Some(strategy), 2..4) => {
                let enabled = !strategy.enabled;
                let strategy = Strategy {
                    enabled,
                    ..Strategy::clone(&strategy)
                };
                state.strategies.insert(id.to_owned(), strategy.into());
                "disabled or enabled"
            }
            // Its version rises: one that is quarantined tries again.
            (Some(strategy), 4) => {
                let strategy = Strategy {
                    version: strategy.version + 1,
                    ..Strategy::clone(&strategy)
                };
                state.strategies.insert(id.to_owned(), strategy.into());
                "defined again"
            }
            (Some(live), 5..10) => match shadow {
                Some(shadow) => {
                    let promoted = Strategy {
                        id: id.to_owned(),
                        ..Strategy::clone(&shadow)
                    };
                    state.strategies.insert(id.to_owned(), promoted.into());
                    "promoted"
                }
                None if live.enabled && !live.computes_as(&any) => {
                    state.hostile |= any.plugin == "misbehave";
                    let shadow = Strategy {
                        id: shadow_id.clone(),
                        ..Strategy::clone(&any)
                    };
                    state.strategies.insert(shadow_id, shadow.into());
                    "shadowed"
                }
                None => "left as it was",
            },
            _ => {
                state.hostile |= any.plugin == "misbehave";
                state.strategies.insert(id.to_owned(), any);
                "defined"
            }
        };
        self.0.push(Arc::new(state));
        format!("{id} {what}")
    }

    fn newest(&self) -> &Arc<State> {
        self.0.last().expect("there is always one")
    }

    /// A view of a process that has just read all.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::new(View(Mutex::new(self.newest().clone())))
    }

    /// A view reads on, to the end or not.
    pub(crate) fn follow(&self, view: &View, dice: &mut ChaCha8Rng) {
        let now = view.state().version;
        let at = dice.random_range(now..=self.newest().version);
        *view.0.lock().unwrap_or_else(PoisonError::into_inner) = self.0[at as usize].clone();
    }

    pub(crate) fn catch_up(&self, view: &View) {
        *view.0.lock().unwrap_or_else(PoisonError::into_inner) = self.newest().clone();
    }
}

/// What one process knows of it.
pub(crate) struct View(Mutex<Arc<State>>);

impl View {
    fn state(&self) -> Arc<State> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Deployment for View {
    fn version(&self) -> u64 {
        self.state().version
    }

    fn enabled(&self) -> Vec<Arc<Strategy>> {
        let state = self.state();
        let enabled = state.strategies.values().filter(|s| s.enabled);
        enabled.cloned().collect()
    }

    fn definition(&self, id: &str) -> Option<Arc<Strategy>> {
        self.state().strategies.get(id).cloned()
    }

    fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        let found = find(digest)?;
        let known = found.description().name != "misbehave" || self.state().hostile;
        known.then_some(found)
    }
}
