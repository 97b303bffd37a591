//! What `control` and `changes` add up to, and the form of `control`'s messages: a plugin's bytes in chunks,
//! there once its manifest is; a strategy's JSON, gone once it is empty.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::info::{PartitionState, PluginInfo, StrategyInfo, StrategyStatus, etag};
use crate::{
    change::{Change, What},
    log::{Append, MAX_VALUE_BYTES, Offset, Topic},
    plugin::{Digest, Plugin},
    strategy::{Input, Strategy},
};

/// The manifest of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PluginRecord {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) size_bytes: u64,
    pub(super) chunks: u32,
    /// Removed: no name leads to it, but signals may.
    pub(super) hidden: bool,
    /// Who uploaded or hid it.
    pub(super) by: String,
}

#[derive(Default)]
pub(super) struct Catalogue {
    plugins: HashMap<Digest, Entry>,
    /// Uploaded here, on their way through the log: need not be compiled again.
    prepared: HashMap<Digest, Arc<Plugin>>,
    chunks: HashMap<Digest, BTreeMap<u32, Vec<u8>>>,
    pub(super) strategies: BTreeMap<String, Arc<Strategy>>,
    running: HashMap<(String, u32), PartitionState>,
    pub(super) defaults_done: bool,
}

struct Entry {
    record: PluginRecord,
    info: PluginInfo,
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

    pub(super) fn has_plugin(&self, digest: Digest) -> bool {
        self.plugins.contains_key(&digest)
    }

    pub(super) fn ready(&self, digest: Digest) -> Option<Arc<Plugin>> {
        self.plugins.get(&digest).map(|e| e.plugin.clone())
    }

    pub(super) fn info(&self, digest: Digest) -> Option<PluginInfo> {
        self.plugins
            .get(&digest)
            .filter(|e| !e.record.hidden)
            .map(|e| e.info.clone())
    }

    fn newest(&self, name: &str) -> Option<&Entry> {
        self.plugins
            .values()
            .filter(|e| e.record.name == name && !e.record.hidden)
            .max_by_key(|e| e.offset)
    }

    pub(super) fn newest_of_each(&self) -> Vec<PluginInfo> {
        let mut names: Vec<_> = self.plugins.values().map(|e| &*e.record.name).collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| self.newest(name))
            .map(|e| e.info.clone())
            .collect()
    }

    pub(super) fn resolve(&self, name_or_digest: &str) -> Option<Digest> {
        if let Some(entry) = self.newest(name_or_digest) {
            return Some(entry.plugin.digest());
        }
        let digest = name_or_digest.parse().ok()?;
        self.plugins
            .get(&digest)
            .filter(|e| !e.record.hidden)
            .map(|_| digest)
    }

    pub(super) fn uploads_of(&self, name: &str) -> Vec<(Digest, PluginRecord)> {
        let of_name = self
            .plugins
            .iter()
            .filter(|(_, e)| e.record.name == name && !e.record.hidden);
        of_name
            .map(|(digest, e)| (*digest, e.record.clone()))
            .collect()
    }

    pub(super) fn strategies_with(&self, plugin: &str) -> Vec<String> {
        self.strategies
            .values()
            .filter(|s| s.plugin == plugin)
            .map(|s| s.id.clone())
            .collect()
    }

    pub(super) fn strategy_info(&self, strategy: &Strategy, partitions: u32) -> StrategyInfo {
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
        StrategyInfo {
            id: strategy.id.clone(),
            plugin: strategy.plugin.clone(),
            plugin_digest: strategy.plugin_digest.clone(),
            params: strategy.params.clone(),
            params_digest: strategy.params_digest.clone(),
            symbols: strategy.symbols.clone(),
            input: match strategy.input {
                Input::Ticks => "ticks".to_owned(),
            },
            values_interval_ms: strategy.values_interval_ms,
            enabled: strategy.enabled,
            version: strategy.version,
            etag: etag(strategy),
            state: (0..partitions).map(state).collect(),
        }
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
            (Some("strategy"), Some(id), None) => match serde_json::from_slice::<Strategy>(value) {
                Ok(strategy) => drop(self.strategies.insert(id.to_owned(), Arc::new(strategy))),
                Err(e) => return unreadable(&e),
            },
            (Some("plugin"), Some(digest), rest) => {
                let digest: Digest = match digest.parse() {
                    Ok(digest) => digest,
                    Err(e) => return unreadable(&e),
                };
                return match rest.map(str::parse::<u32>) {
                    Some(Ok(n)) => {
                        // Only what is not loaded is worth keeping.
                        if !self.plugins.contains_key(&digest)
                            && !self.prepared.contains_key(&digest)
                        {
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
        if let Some(plugin) = self.prepared.remove(&digest) {
            self.add(plugin, record, offset);
            return Step::Done;
        }
        let chunks = self.chunks.remove(&digest).unwrap_or_default();
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
        let info = PluginInfo::of(&plugin, record.size_bytes);
        self.plugins.insert(
            plugin.digest(),
            Entry {
                record,
                info,
                plugin,
                offset,
            },
        );
    }

    /// Before `changes` is read again from its beginning.
    pub(super) fn forget_changes(&mut self) {
        self.running.clear();
    }

    /// Takes the next record of `changes`.
    pub(super) fn take_change(&mut self, change: Change) {
        let key = (change.strategy, change.partition);
        let new = |status, reason| PartitionState {
            reason,
            ..PartitionState::new(change.partition, status, Some(change.offset))
        };
        let before = self.running.get(&key);
        let state = match change.what {
            What::Start { .. } => new(StrategyStatus::Live, None),
            What::Stop { .. } => new(StrategyStatus::Stopped, None),
            What::Skip { .. } => {
                let before = before
                    .cloned()
                    .unwrap_or_else(|| new(StrategyStatus::Live, None));
                PartitionState {
                    skipped_rows: before.skipped_rows + 1,
                    ..before
                }
            }
            What::Quarantine { reason, .. } => PartitionState {
                skipped_rows: before.map_or(0, |s| s.skipped_rows),
                ..new(StrategyStatus::Quarantined, Some(reason))
            },
        };
        self.running.insert(key, state);
    }
}

impl PartitionState {
    const fn new(partition: u32, status: StrategyStatus, since_offset: Option<Offset>) -> Self {
        Self {
            partition,
            status,
            since_offset,
            reason: None,
            skipped_rows: 0,
        }
    }
}

fn message(key: String, value: Vec<u8>) -> Append {
    Append {
        topic: Topic::Control,
        partition: 0,
        key: key.into_bytes(),
        value,
        headers: Vec::new(),
    }
}

pub(super) fn chunk_messages(digest: Digest, bytes: &[u8]) -> (Vec<Append>, u32) {
    let chunks = (0..).zip(bytes.chunks(MAX_VALUE_BYTES));
    let messages: Vec<_> = chunks
        .map(|(n, chunk): (u32, _)| message(format!("plugin/{digest}/{n}"), chunk.to_vec()))
        .collect();
    let count = messages.len() as u32;
    (messages, count)
}

pub(super) fn manifest_message(digest: Digest, record: &PluginRecord) -> Append {
    message(
        format!("plugin/{digest}"),
        serde_json::to_vec(record).expect("a manifest is JSON"),
    )
}

pub(super) fn strategy_message(strategy: &Strategy) -> Append {
    let json = serde_json::to_vec(strategy).expect("a definition is JSON");
    message(format!("strategy/{}", strategy.id), json)
}

pub(super) fn strategy_tombstone(id: &str) -> Append {
    message(format!("strategy/{id}"), Vec::new())
}

/// Says that the default strategies were defined once; removing one is final.
pub(super) fn defaults_message() -> Append {
    message("defaults".to_owned(), b"{}".to_vec())
}
