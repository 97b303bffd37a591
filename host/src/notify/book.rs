//! What the topics `webhooks` and `deliveries` hold, in memory: bounded, since both keep the newest of each key and there
//! are only so many keys. The API answers from it, and whoever takes a partition over goes on from it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use super::{
    definition::Webhook,
    record::{At, Attempt, Dead, Delivery, Key, Resend},
};
use crate::log::{Append, MessageRef, Offset, Topic};

/// What a webhook has on one partition.
#[derive(Clone, Default)]
pub(super) struct Standing {
    pub(super) at: Option<At>,
    pub(super) dues: BTreeMap<String, Delivery>,
    /// By slot, as `dead`.
    pub(super) attempts: BTreeMap<u64, Attempt>,
    pub(super) dead: BTreeMap<u64, Dead>,
    pub(super) resends: BTreeMap<String, Resend>,
}

impl Standing {
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_none()
            && self.dues.is_empty()
            && self.attempts.is_empty()
            && self.dead.is_empty()
            && self.resends.is_empty()
    }

    /// All keys under which something stands.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        let at = self.at.iter().map(|_| Key::At);
        at.chain(self.dues.keys().map(|signal| Key::Due(signal)))
            .chain(self.attempts.keys().map(|slot| Key::Attempt(*slot)))
            .chain(self.dead.keys().map(|slot| Key::Dead(*slot)))
            .chain(self.resends.keys().map(|signal| Key::Resend(signal)))
    }
}

/// A receiver wants nothing any more: it answered 410.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    /// Of which beginning of the webhook this tells.
    pub(super) epoch: u64,
    pub(super) time_ms: i64,
}

/// What both topics hold.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) webhooks: BTreeMap<String, Arc<Webhook>>,
    pub(super) gone: BTreeMap<String, Gone>,
    /// By partition and webhook.
    pub(super) standings: Vec<BTreeMap<String, Standing>>,
    /// The next offset of `deliveries`, by partition.
    pub(super) positions: Vec<Offset>,
}

impl Pages {
    pub(super) fn new(partitions: u32) -> Self {
        Self {
            standings: (0..partitions).map(|_| BTreeMap::new()).collect(),
            positions: vec![0; partitions as usize],
            ..Self::default()
        }
    }

    /// When the receiver of a webhook as it is now said that it is gone.
    pub(super) fn gone(&self, webhook: &Webhook) -> Option<Gone> {
        let gone = self.gone.get(&webhook.id).copied();
        gone.filter(|gone| gone.epoch == webhook.epoch)
    }

    /// Whether anything is to be sent.
    pub(super) fn is_open(&self, webhook: &Webhook) -> bool {
        webhook.enabled && self.gone(webhook).is_none()
    }

    /// What a webhook has, by partition.
    pub(super) fn of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (u32, &'a Standing)> {
        (0..)
            .zip(&self.standings)
            .filter_map(move |(n, all)| Some((n, all.get(id)?)))
    }

    /// Whether there is anything to do for those who deliver.
    pub(super) fn is_idle(&self) -> bool {
        self.webhooks.is_empty() && self.standings.iter().all(BTreeMap::is_empty)
    }

    pub(super) fn take(&mut self, message: &MessageRef<'_>) {
        let taken = match message.topic {
            Topic::Webhooks => self.take_webhook(message),
            _ => self.take_delivery(message),
        };
        if taken.is_none() {
            let (topic, partition, offset) = (message.topic, message.partition, message.offset);
            tracing::error!(%topic, partition, offset, "message of webhooks passed over");
        }
    }

    fn take_webhook(&mut self, message: &MessageRef<'_>) -> Option<()> {
        let key = std::str::from_utf8(message.key).ok()?;
        match key.strip_suffix(GONE) {
            Some(id) => set(&mut self.gone, id, message.value),
            None => set(&mut self.webhooks, key, message.value),
        }
    }

    fn take_delivery(&mut self, message: &MessageRef<'_>) -> Option<()> {
        let (id, key) = Key::parse(message.key)?;
        let all = self.standings.get_mut(message.partition as usize)?;
        let standing = all.entry(id.to_owned()).or_default();
        let value = message.value;
        let taken = match key {
            Key::At if value.is_empty() => {
                standing.at = None;
                Some(())
            }
            Key::At => {
                standing.at = Some(serde_json::from_slice(value).ok()?);
                Some(())
            }
            Key::Due(signal) => set(&mut standing.dues, signal, value),
            Key::Attempt(slot) => set(&mut standing.attempts, &slot, value),
            Key::Dead(slot) => set(&mut standing.dead, &slot, value),
            Key::Resend(signal) => set(&mut standing.resends, signal, value),
        };
        if standing.is_empty() {
            all.remove(id);
        }
        taken
    }
}

/// How the key ends under which a webhook's end stands.
const GONE: &str = "/gone";

fn set<K, B, V: DeserializeOwned>(map: &mut BTreeMap<K, V>, key: &B, value: &[u8]) -> Option<()>
where
    K: Ord + std::borrow::Borrow<B>,
    B: Ord + ToOwned<Owned = K> + ?Sized,
{
    match value {
        [] => drop(map.remove(key)),
        value => drop(map.insert(key.to_owned(), serde_json::from_slice(value).ok()?)),
    }
    Some(())
}

/// A definition, as a message.
pub(super) fn webhook_message(webhook: &Webhook) -> Append {
    let json = serde_json::to_vec(webhook).expect("a definition is JSON");
    message(webhook.id.clone(), json)
}

/// Removes a definition, and that its receiver was gone.
pub(super) fn webhook_tombstones(id: &str) -> [Append; 2] {
    [id.to_owned(), format!("{id}{GONE}")].map(|key| message(key, Vec::new()))
}

pub(super) fn gone_message(id: &str, gone: Gone) -> Append {
    let json = serde_json::to_vec(&gone).expect("a record is JSON");
    message(format!("{id}{GONE}"), json)
}

fn message(key: String, value: Vec<u8>) -> Append {
    Append {
        topic: Topic::Webhooks,
        partition: 0,
        key: key.into_bytes(),
        value,
        headers: Vec::new(),
    }
}

/// The pages, shared between who follows the topics and who asks.
pub(super) struct Book {
    pages: Mutex<Pages>,
    changed: watch::Sender<u64>,
    caught_up: AtomicBool,
    pub(super) stop: AtomicBool,
}

impl Book {
    pub(super) fn new(partitions: u32) -> Self {
        Self {
            pages: Mutex::new(Pages::new(partitions)),
            changed: watch::Sender::new(0),
            caught_up: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what was read up to the ends of the topics.
    pub(super) fn open(&self, pages: Pages) {
        *self.pages() = pages;
        self.caught_up.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn ring(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Whether what the topics held at the start has been read.
    pub(super) fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
