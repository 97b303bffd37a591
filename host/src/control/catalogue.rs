//! What `control` and `changes` add up to: the plugins and strategies that there are, and what each is doing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    info::{
        FailedRow, PartitionState, PluginInfo, PluginVersion, ShadowInfo, StrategyInfo,
        StrategyStatus,
    },
    record::{PluginRecord, StrategyRecord},
};
use crate::{
    change::{Change, StopReason, What},
    log::Offset,
    plugin::{Digest, Plugin},
    strategy::Strategy,
};

/// Failed rows that are shown of a strategy on a partition.
const FAILURES_KEPT: usize = 5;

/// Uploads of a name that are shown.
const VERSIONS_SHOWN: usize = 20;

/// Sets of parameters that are kept for explanations.
const PARAMS_KEPT: usize = 20_000;

#[derive(Default)]
pub(super) struct Catalogue {
    plugins: HashMap<Digest, Entry>,
    /// Uploaded here, on their way through the log: need not be compiled again.
    prepared: HashMap<Digest, Arc<Plugin>>,
    chunks: HashMap<Digest, BTreeMap<u32, Vec<u8>>>,
    pub(super) strategies: BTreeMap<String, Arc<StrategyRecord>>,
    running: HashMap<(String, u32), PartitionState>,
    /// Parameters by their digest, of all that `changes` names.
    params: HashMap<String, Map<String, Value>>,
    /// When the newest start of a shadow was written, by its id and partition.
    started_ms: HashMap<(String, u32), i64>,
    pub(super) defaults_done: bool,
}

struct Entry {
    record: PluginRecord,
    info: PluginInfo,
    /// The digest of its default parameters.
    default_params: String,
    plugin: Arc<Plugin>,
    /// Of its newest manifest: the newest of a name counts.
    offset: Offset,
}

/// What a message of `control` asks of its reader.
pub(super) enum Step {
    /// It is done.
    Done,
    /// To load this plugin, and then to add it.
    Load {
        digest: Digest,
        record: PluginRecord,
        bytes: Vec<u8>,
    },
    /// It cannot be read.
    Unreadable(String),
}

impl Catalogue {
    pub(super) fn prepare(&mut self, plugin: Arc<Plugin>) {
        self.prepared.insert(plugin.digest(), plugin);
    }

    /// It did not come through the log, as far as is known: where it does, it is compiled anew.
    pub(super) fn unprepare(&mut self, digest: Digest) {
        self.prepared.remove(&digest);
    }

    pub(super) fn has_plugin(&self, digest: Digest) -> bool {
        self.plugins.contains_key(&digest)
    }

    pub(super) fn ready(&self, digest: Digest) -> Option<Arc<Plugin>> {
        self.plugins.get(&digest).map(|e| e.plugin.clone())
    }

    pub(super) fn info(&self, digest: Digest) -> Option<PluginInfo> {
        let entry = self.plugins.get(&digest)?;
        (!entry.record.hidden).then(|| self.shown(entry))
    }

    /// Whether a definition's plugin is there, and not removed.
    pub(super) fn has_shown(&self, definition: &Strategy) -> bool {
        let digest = definition.plugin_digest.parse();
        let entry = digest
            .ok()
            .and_then(|digest: Digest| self.plugins.get(&digest));
        entry.is_some_and(|entry| !entry.record.hidden)
    }

    /// A plugin that was removed.
    pub(super) fn hidden(&self, digest: Digest) -> Option<PluginRecord> {
        let record = &self.plugins.get(&digest)?.record;
        record.hidden.then(|| record.clone())
    }

    /// With the other uploads of its name.
    fn shown(&self, entry: &Entry) -> PluginInfo {
        let mut uploads: Vec<_> = self.uploads(&entry.record.name).collect();
        uploads.sort_by_key(|e| std::cmp::Reverse(e.offset));
        let versions = uploads.into_iter().take(VERSIONS_SHOWN);
        PluginInfo {
            versions: versions
                .map(|e| PluginVersion {
                    version: e.record.version.clone(),
                    digest: e.plugin.digest().to_string(),
                })
                .collect(),
            ..entry.info.clone()
        }
    }

    /// Those of a name that are not hidden.
    fn uploads(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let all = self.plugins.values();
        all.filter(move |e| e.record.name == name && !e.record.hidden)
    }

    fn newest(&self, name: &str) -> Option<&Entry> {
        self.uploads(name).max_by_key(|e| e.offset)
    }

    pub(super) fn newest_of_each(&self) -> Vec<PluginInfo> {
        let mut names: Vec<_> = self.plugins.values().map(|e| &*e.record.name).collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| self.newest(name))
            .map(|e| self.shown(e))
            .collect()
    }

    /// What a name, `NAME@VERSION` or a digest means.
    pub(super) fn resolve(&self, reference: &str) -> Option<Digest> {
        let named = match reference.split_once('@') {
            Some((name, version)) => self
                .uploads(name)
                .filter(|e| e.record.version == version)
                .max_by_key(|e| e.offset),
            None => self.newest(reference),
        };
        if let Some(entry) = named {
            return Some(entry.plugin.digest());
        }
        let digest = reference.parse().ok()?;
        self.info(digest).map(|_| digest)
    }

    pub(super) fn uploads_of(&self, name: &str) -> Vec<(Digest, PluginRecord)> {
        self.uploads(name)
            .map(|e| (e.plugin.digest(), e.record.clone()))
            .collect()
    }

    pub(super) fn strategies_with(&self, plugin: &str) -> Vec<String> {
        let runs = |record: &&Arc<StrategyRecord>| {
            let shadow = record.shadow.as_ref();
            record.strategy.plugin == plugin
                || shadow.is_some_and(|shadow| shadow.definition.plugin == plugin)
        };
        let users = self.strategies.values().filter(runs);
        users.map(|record| record.strategy.id.clone()).collect()
    }

    /// What is to run, shadows too.
    pub(super) fn enabled(&self) -> Vec<Arc<Strategy>> {
        let enabled = self.strategies.values().filter(|r| r.strategy.enabled);
        enabled
            .flat_map(|record| {
                let shadow = record.shadow.as_ref().map(|s| s.definition.clone());
                std::iter::once(record.strategy.clone()).chain(shadow)
            })
            .collect()
    }

    /// The definition of a strategy or of a shadow.
    pub(super) fn definition(&self, id: &str) -> Option<Arc<Strategy>> {
        if let Some(record) = self.strategies.get(id) {
            return Some(record.strategy.clone());
        }
        let of = |record: &Arc<StrategyRecord>| Some(record.shadow.as_ref()?.definition.clone());
        let mut shadows = self.strategies.values().filter_map(of);
        shadows.find(|shadow| shadow.id == id)
    }

    /// What all strategies cost for each tick but one.
    pub(super) fn price_beside(&self, id: &str) -> u64 {
        let others = self.strategies.values().filter(|r| r.strategy.id != id);
        others.map(|record| record.price()).sum()
    }

    /// What a tick costs a plugin with these parameters, where it was tried with them.
    pub(super) fn price_of(&self, digest: Digest, params: &Map<String, Value>) -> Option<u64> {
        let params = Strategy::digest_of(params);
        let entry = self.plugins.get(&digest)?;
        if entry.default_params == params && entry.record.fuel_per_tick.is_some() {
            return entry.record.fuel_per_tick;
        }
        let digest = digest.to_string();
        let is_same = |of: &Strategy| of.plugin_digest == digest && of.params_digest == params;
        self.strategies.values().find_map(|record| {
            let shadow = record.shadow.as_ref();
            match is_same(&record.strategy) {
                true => record.fuel_per_tick,
                false => shadow.filter(|s| is_same(&s.definition))?.fuel_per_tick,
            }
        })
    }

    /// Parameters by their digest.
    pub(super) fn params_of(&self, digest: &str) -> Option<Map<String, Value>> {
        self.params.get(digest).cloned()
    }

    /// Where a shadow runs, since which offset, and when that was written.
    pub(super) fn shadow_since(&self, id: &str) -> BTreeMap<u32, (Offset, i64)> {
        let of_shadow = (self.started_ms.iter()).filter(|((shadow, _), _)| shadow == id);
        of_shadow
            .filter_map(|(key, started_ms)| {
                let since = self.running.get(key)?.since_offset?;
                Some((key.1, (since, *started_ms)))
            })
            .collect()
    }

    pub(super) fn strategy_info(&self, record: &StrategyRecord, partitions: u32) -> StrategyInfo {
        let strategy = &*record.strategy;
        let shadow = record.shadow.as_ref().map(|shadow| ShadowInfo {
            plugin: shadow.definition.plugin.clone(),
            plugin_digest: shadow.definition.plugin_digest.clone(),
            params: shadow.definition.params.clone(),
            params_digest: shadow.definition.params_digest.clone(),
            fuel_per_tick: shadow.fuel_per_tick,
            state: self.states(&shadow.definition, partitions),
        });
        StrategyInfo {
            id: strategy.id.clone(),
            plugin: strategy.plugin.clone(),
            plugin_digest: strategy.plugin_digest.clone(),
            params: strategy.params.clone(),
            params_digest: strategy.params_digest.clone(),
            symbols: strategy.symbols.clone(),
            input: strategy.input,
            values_interval_ms: strategy.values_interval_ms,
            enabled: strategy.enabled,
            fuel_per_tick: record.fuel_per_tick,
            shadow,
            version: strategy.version,
            etag: record.etag(),
            state: self.states(strategy, partitions),
        }
    }

    fn states(&self, strategy: &Strategy, partitions: u32) -> Vec<PartitionState> {
        let state = |partition| {
            let nothing = if strategy.enabled {
                StrategyStatus::Starting
            } else {
                StrategyStatus::Stopped
            };
            let known = self.running.get(&(strategy.id.clone(), partition)).cloned();
            let state = known.unwrap_or_else(|| PartitionState::new(partition, nothing, None));
            match (strategy.enabled, state.status) {
                (true, StrategyStatus::Stopped) => PartitionState {
                    status: StrategyStatus::Starting,
                    ..state
                },
                _ => state,
            }
        };
        (0..partitions).map(state).collect()
    }

    /// Takes the next message of `control`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8], offset: Offset) -> Step {
        let unreadable = |why: &dyn std::fmt::Display| {
            Step::Unreadable(format!("key {:?}: {why}", String::from_utf8_lossy(key)))
        };
        let key_text = match std::str::from_utf8(key) {
            Ok(text) => text,
            Err(e) => return unreadable(&e),
        };
        let mut parts = key_text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("defaults"), None, None) => self.defaults_done = true,
            (Some("strategy"), Some(id), None) if value.is_empty() => {
                self.strategies.remove(id);
            }
            (Some("strategy"), Some(id), None) => {
                match serde_json::from_slice::<StrategyRecord>(value) {
                    Ok(record) => drop(self.strategies.insert(id.to_owned(), Arc::new(record))),
                    Err(e) => return unreadable(&e),
                }
            }
            (Some("plugin"), Some(digest), rest) => {
                let digest: Digest = match digest.parse() {
                    Ok(digest) => digest,
                    Err(e) => return unreadable(&e),
                };
                return match rest.map(str::parse::<u32>) {
                    Some(Ok(n)) => {
                        // Only what is not loaded is worth keeping.
                        if !self.plugins.contains_key(&digest) {
                            self.chunks
                                .entry(digest)
                                .or_default()
                                .insert(n, value.to_vec());
                        }
                        Step::Done
                    }
                    Some(Err(e)) => unreadable(&e),
                    None => match serde_json::from_slice(value) {
                        Ok(record) => self.take_manifest(digest, record, offset),
                        Err(e) => unreadable(&e),
                    },
                };
            }
            _ => return unreadable(&"is none that this program knows"),
        }
        Step::Done
    }

    fn take_manifest(&mut self, digest: Digest, record: PluginRecord, offset: Offset) -> Step {
        if let Some(entry) = self.plugins.get_mut(&digest) {
            (entry.record, entry.offset) = (record, offset);
            return Step::Done;
        }
        let chunks = self.chunks.remove(&digest).unwrap_or_default();
        if let Some(plugin) = self.prepared.remove(&digest) {
            self.add(plugin, record, offset);
            return Step::Done;
        }
        let bytes: Vec<u8> = chunks.into_values().flatten().collect();
        if Digest::of(&bytes) != digest {
            let got = bytes.len();
            return Step::Unreadable(format!(
                "plugin {digest:?}: its {got} bytes do not have this digest"
            ));
        }
        Step::Load {
            digest,
            record,
            bytes,
        }
    }

    pub(super) fn add(&mut self, plugin: Arc<Plugin>, record: PluginRecord, offset: Offset) {
        let info = PluginInfo::of(&plugin, &record);
        let defaults = plugin.description().defaults();
        self.plugins.insert(
            plugin.digest(),
            Entry {
                record,
                info,
                default_params: Strategy::digest_of(&defaults),
                plugin,
                offset,
            },
        );
    }

    /// Takes the next record of `changes`, and when it was written.
    pub(super) fn take_change(&mut self, change: Change, written_ms: i64) {
        let (partition, offset) = (change.partition, change.offset);
        let key = (change.strategy, partition);
        let new = |status| PartitionState::new(partition, status, Some(offset));
        let live = || new(StrategyStatus::Live);
        let before = self.running.get(&key);
        let state = match change.what {
            What::Start { definition, .. } => {
                if definition.is_shadow() {
                    self.started_ms.insert(key.clone(), written_ms);
                }
                self.note_params(*definition);
                live()
            }
            What::Promote { definition } => {
                let shadow = (Strategy::shadow_id(&definition.id), partition);
                self.running.remove(&shadow);
                self.started_ms.remove(&shadow);
                self.note_params(*definition);
                live()
            }
            What::Stop { why } => {
                self.started_ms.remove(&key);
                if why == StopReason::Removed {
                    self.running.remove(&key);
                    return;
                }
                new(StrategyStatus::Stopped)
            }
            What::Skip {
                row,
                cause,
                detail,
                record,
            } => {
                let mut state = before.cloned().unwrap_or_else(live);
                state.skipped_rows += 1;
                if state.failures.len() == FAILURES_KEPT {
                    state.failures.remove(0);
                }
                state.failures.push(FailedRow {
                    offset,
                    row,
                    cause,
                    detail,
                    record,
                });
                state
            }
            What::Quarantine { row, reason } => PartitionState {
                skipped_rows: before.map_or(0, |s| s.skipped_rows),
                failures: before.map_or_else(Vec::new, |s| s.failures.clone()),
                reason: Some(reason),
                row: Some(row),
                ..new(StrategyStatus::Quarantined)
            },
        };
        self.running.insert(key, state);
    }

    fn note_params(&mut self, definition: Strategy) {
        if self.params.len() < PARAMS_KEPT {
            self.params
                .insert(definition.params_digest, definition.params);
        }
    }
}

impl PartitionState {
    const fn new(partition: u32, status: StrategyStatus, since_offset: Option<Offset>) -> Self {
        Self {
            partition,
            status,
            since_offset,
            row: None,
            reason: None,
            skipped_rows: 0,
            failures: Vec::new(),
        }
    }
}
