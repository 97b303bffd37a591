//! A consistent picture of a whole partition at one offset, and its form in `checkpoints`: chunks under the size
//! of a message, valid once their manifest is there. Slots rotate, so that the newest picture is never
//! overwritten by the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{order::Order, slot::Tally};
use crate::{
    bars::OpenBars,
    log::{Append, MAX_VALUE_BYTES, Messages, Offset, Topic},
};

/// The form of [`Picture`]; another is refused, and the checkpoint before it taken.
const SCHEMA: u32 = 1;

/// Pictures that are kept at least.
const SLOTS: u64 = 4;

/// The state of a partition before the message at `position`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Picture {
    pub(super) position: Offset,
    pub(super) next_change: u64,
    pub(super) symbols: Vec<Box<str>>,
    pub(super) order: Order,
    pub(super) bars: Vec<OpenBars>,
    pub(super) slots: Vec<SlotPicture>,
}

/// One strategy in a picture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SlotPicture {
    /// JSON, since it holds values of any kind.
    pub(super) definition: String,
    pub(super) states: Vec<Vec<u8>>,
    pub(super) shared: Vec<u8>,
    pub(super) tally: Tally,
    pub(super) quarantined: Option<String>,
    pub(super) since: Offset,
}

/// Says which chunks make up a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    /// Rises by one with each picture of the partition.
    seq: u64,
    position: Offset,
    chunks: u32,
    /// Of all chunks, one after the other.
    sha256: String,
}

/// Why no state can be had from `checkpoints`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// It cannot be read.
    #[error("a checkpoint cannot be read: {0}")]
    Damaged(String),
    /// A strategy's plugin is not in `control`.
    #[error("strategy {strategy:?} runs plugin sha256:{digest}, which is not in the topic control")]
    PluginMissing {
        /// The strategy's id.
        strategy: String,
        /// The component's digest.
        digest: String,
    },
}

impl Picture {
    /// The offset of the first message that it has not seen.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.position
    }

    /// The messages that keep it, as the `seq`-th of its partition.
    #[must_use]
    pub fn to_messages(&self, partition: u32, seq: u64) -> Vec<Append> {
        let bytes = postcard::to_stdvec(self).expect("a picture has a form");
        let slot = seq % SLOTS;
        let append = |key: String, value: Vec<u8>| Append {
            topic: Topic::Checkpoints,
            partition,
            key: key.into_bytes(),
            value,
            headers: vec![("Seq", seq.to_string().into_bytes())],
        };
        let mut messages: Vec<_> = (0..)
            .zip(bytes.chunks(MAX_VALUE_BYTES))
            .map(|(n, chunk): (u32, _)| append(format!("{slot}/{n}"), chunk.to_vec()))
            .collect();
        let manifest = Manifest {
            schema: SCHEMA,
            seq,
            position: self.position,
            chunks: messages.len() as u32,
            sha256: hex::encode(Sha256::digest(&bytes)),
        };
        let manifest = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        messages.push(append(format!("{slot}/manifest"), manifest));
        messages
    }
}

/// What `checkpoints` of one partition holds, gathered message by message.
#[derive(Debug, Default)]
pub struct Gallery {
    /// Newest of each key.
    chunks: BTreeMap<String, (u64, Vec<u8>)>,
    manifests: BTreeMap<String, Manifest>,
    unreadable: Vec<String>,
}

impl Gallery {
    /// Takes messages in the order of the log.
    pub fn add(&mut self, messages: &Messages) {
        for message in messages.iter() {
            let key = String::from_utf8_lossy(message.key).into_owned();
            let seq = message
                .headers
                .get("Seq")
                .and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
            match (key.split_once('/'), seq) {
                (Some((slot, "manifest")), _) => match serde_json::from_slice(message.value) {
                    Ok(manifest) => drop(self.manifests.insert(slot.to_owned(), manifest)),
                    Err(e) => self.unreadable.push(format!("manifest {key:?}: {e}")),
                },
                (Some(_), Some(seq)) => {
                    drop(self.chunks.insert(key, (seq, message.value.to_vec())))
                }
                _ => self.unreadable.push(format!("key {key:?}")),
            }
        }
    }

    /// The number for the next picture.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        let seqs = self
            .manifests
            .values()
            .map(|m| m.seq)
            .chain(self.chunks.values().map(|c| c.0));
        seqs.max().map_or(0, |seq| seq + 1)
    }

    /// The newest picture not above a position, and what is wrong with newer ones that were passed over.
    #[must_use]
    pub fn newest(&self, position: Offset) -> (Option<Picture>, Vec<String>) {
        let mut wrong = self.unreadable.clone();
        let mut manifests: Vec<_> = self.manifests.iter().collect();
        manifests.sort_by_key(|(_, m)| std::cmp::Reverse(m.seq));
        for (slot, manifest) in manifests {
            if manifest.position > position {
                let at = manifest.position;
                wrong.push(format!(
                    "checkpoint {} is at offset {at}, above the committed {position}",
                    manifest.seq
                ));
                continue;
            }
            match self.read(slot, manifest) {
                Ok(picture) => return (Some(picture), wrong),
                Err(why) => wrong.push(format!("checkpoint {}: {why}", manifest.seq)),
            }
        }
        (None, wrong)
    }

    fn read(&self, slot: &str, manifest: &Manifest) -> Result<Picture, String> {
        if manifest.schema != SCHEMA {
            return Err(format!(
                "has schema {}; this program reads {SCHEMA}",
                manifest.schema
            ));
        }
        let mut bytes = Vec::new();
        for n in 0..manifest.chunks {
            match self.chunks.get(&format!("{slot}/{n}")) {
                Some((seq, chunk)) if *seq == manifest.seq => bytes.extend_from_slice(chunk),
                _ => return Err(format!("lacks chunk {n} of {}", manifest.chunks)),
            }
        }
        if hex::encode(Sha256::digest(&bytes)) != manifest.sha256 {
            return Err("does not have the digest of its manifest".to_owned());
        }
        postcard::from_bytes(&bytes).map_err(|e| e.to_string())
    }
}
