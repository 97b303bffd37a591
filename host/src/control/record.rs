//! The form of `control`'s messages: a plugin's bytes in chunks, there once its manifest is; a strategy's JSON, gone once it
//! is empty.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    log::{Append, MAX_VALUE_BYTES, Topic},
    plugin::Digest,
    strategy::Strategy,
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
    /// What a tick costs with its default parameters; not known of what was uploaded before it was measured.
    #[serde(default)]
    pub(super) fuel_per_tick: Option<u64>,
    /// Values and signals that were compared when it was tried so; not known of what was uploaded before they were counted.
    #[serde(default)]
    pub(super) compared: Option<u64>,
}

/// A strategy as it stands in `control`: its definition, and what belongs to it but not to its results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StrategyRecord {
    #[serde(flatten)]
    pub(super) strategy: Arc<Strategy>,
    /// What a tick costs it: its price.
    #[serde(default)]
    pub(super) fuel_per_tick: Option<u64>,
    /// What runs beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shadow: Option<ShadowRecord>,
}

/// A shadow's definition and price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ShadowRecord {
    pub(super) definition: Arc<Strategy>,
    pub(super) fuel_per_tick: Option<u64>,
}

impl StrategyRecord {
    /// The same as this version, its shadow too.
    pub(super) fn of_version(mut self, version: u64) -> Self {
        Arc::make_mut(&mut self.strategy).version = version;
        if let Some(shadow) = &mut self.shadow {
            Arc::make_mut(&mut shadow.definition).version = version;
        }
        self
    }

    /// Itself and its shadow, by the field that names the plugin.
    pub(super) fn plugins(&self) -> impl Iterator<Item = (&'static str, &Strategy)> {
        let shadow = self.shadow.iter();
        std::iter::once(("plugin", &*self.strategy))
            .chain(shadow.map(|shadow| ("shadow.plugin", &*shadow.definition)))
    }

    pub(super) fn etag(&self) -> String {
        let json = serde_json::to_vec(self).expect("a definition is JSON");
        let digest = hex::encode(Sha256::digest(json));
        format!("\"{}-{}\"", self.strategy.version, &digest[..16])
    }

    /// What it and its shadow cost for each tick, where it runs.
    pub(super) fn price(&self) -> u64 {
        let shadow = self.shadow.as_ref().and_then(|s| s.fuel_per_tick);
        match self.strategy.enabled {
            true => self.fuel_per_tick.unwrap_or(0) + shadow.unwrap_or(0),
            false => 0,
        }
    }

    /// What becomes of a strategy, for the audit log.
    pub(super) fn in_words(&self, before: Option<&Self>) -> String {
        let Strategy {
            plugin,
            params,
            version,
            enabled,
            ..
        } = &*self.strategy;
        let verb = match before {
            None => "defined",
            Some(before) => match &before.shadow {
                Some(shadow) if shadow.definition.computes_as(&self.strategy) => "shadow promoted",
                _ => "changed",
            },
        };
        let state = if *enabled { "" } else { ", disabled" };
        let params = serde_json::Value::Object(params.clone());
        let shadow = self.shadow.as_ref().map_or_else(String::new, |shadow| {
            let Strategy {
                plugin,
                plugin_digest,
                ..
            } = &*shadow.definition;
            format!(", with {plugin} {} as its shadow", &plugin_digest[..12])
        });
        format!("{verb}: version {version}, {plugin} {params}{state}{shadow}")
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

pub(super) fn strategy_message(record: &StrategyRecord) -> Append {
    let json = serde_json::to_vec(record).expect("a definition is JSON");
    message(format!("strategy/{}", record.strategy.id), json)
}

pub(super) fn strategy_tombstone(id: &str) -> Append {
    message(format!("strategy/{id}"), Vec::new())
}

/// Says that the default strategies were defined once; removing one is final.
pub(super) fn defaults_message() -> Append {
    message("defaults".to_owned(), b"{}".to_vec())
}
