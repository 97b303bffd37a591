//! A consistent picture of a whole partition at one offset, and its form in `checkpoints`: a head and ranges of symbols,
//! each in messages of its own, valid once the manifest that names their digests is there. It knows nothing of how
//! they are taken and found.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Outputs,
    album::Frame,
    order::{Last, Order},
    slot::Tally,
    states::{BLOCK, States, StoredBlock},
};
use crate::{
    bars::OpenBars,
    log::{Append, MAX_VALUE_BYTES, Offset, Topic},
    strategy::Strategy,
};

/// The form of a picture; another is refused, and the checkpoint before it taken.
pub(super) const SCHEMA: u32 = 2;

/// The state of a partition before the message at `position`.
#[derive(Debug)]
pub struct Picture {
    pub(super) head: Head,
    pub(super) names: Vec<Box<str>>,
    pub(super) lasts: Vec<Option<Last>>,
    pub(super) bars: Vec<OpenBars>,
    /// Of each strategy.
    pub(super) states: Vec<States>,
}

/// What belongs to no symbol.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) frame: Frame,
    pub(super) position: Offset,
    pub(super) next_change: u64,
    pub(super) symbols: u32,
    pub(super) order: Order,
    pub(super) slots: Vec<SlotHead>,
}

/// One strategy, without the states of symbols.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SlotHead {
    /// JSON, since it holds values of any kind.
    pub(super) definition: String,
    pub(super) shared: Vec<u8>,
    pub(super) tally: Tally,
    pub(super) quarantined: Option<String>,
    pub(super) since: Offset,
}

/// Some symbols with consecutive numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Range<'a> {
    pub(super) first: u32,
    #[serde(borrow)]
    pub(super) names: Vec<&'a str>,
    pub(super) lasts: Vec<Option<Last>>,
    pub(super) bars: Vec<OpenBars>,
    /// Of each strategy; nothing of one that is quarantined.
    #[serde(borrow)]
    pub(super) states: Vec<Vec<StoredBlock<'a>>>,
}

/// Says what makes up a picture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) schema: u32,
    pub(super) seq: u64,
    pub(super) position: Offset,
    /// The head and the ranges in their order.
    pub(super) sections: Vec<Section>,
}

/// A head or a range, cut into messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Section {
    pub(super) chunks: u32,
    /// Of all of them.
    pub(super) sha256: String,
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
        self.head.position
    }

    /// An offset of `changes` below which there is nothing that a replay from here needs.
    #[must_use]
    pub const fn changes_from(&self) -> Offset {
        self.head.frame.changes_from
    }

    /// Puts the sections of a picture together.
    pub(super) fn read(sections: &[Vec<u8>]) -> Result<Self, String> {
        let (head, ranges) = sections.split_first().ok_or("has no head")?;
        let head: Head = postcard::from_bytes(head).map_err(|e| format!("its head: {e}"))?;
        let mut picture = Self {
            states: vec![States::default(); head.slots.len()],
            head,
            names: Vec::new(),
            lasts: Vec::new(),
            bars: Vec::new(),
        };
        for bytes in ranges {
            let at = picture.names.len();
            let range = postcard::from_bytes(bytes).map_err(|e| e.to_string());
            let added = range.and_then(|range| picture.add(range));
            added.map_err(|e| format!("its symbols from {at} on: {e}"))?;
        }
        let (got, wanted) = (picture.names.len(), picture.head.symbols as usize);
        if got != wanted {
            return Err(format!("has {got} symbols of {wanted}"));
        }
        Ok(picture)
    }

    fn add(&mut self, range: Range<'_>) -> Result<(), String> {
        let symbols = range.names.len();
        let fits = range.first as usize == self.names.len()
            && self.names.len().is_multiple_of(BLOCK)
            && range.lasts.len() == symbols
            && range.bars.len() == symbols
            && range.states.len() == self.states.len();
        if !fits {
            return Err("do not fit together".to_owned());
        }
        self.names.extend(range.names.into_iter().map(Box::from));
        self.lasts.extend(range.lasts);
        self.bars.extend(range.bars);
        for (states, blocks) in self.states.iter_mut().zip(range.states) {
            if !blocks.is_empty() && blocks.len() != symbols.div_ceil(BLOCK) {
                return Err(format!("{} blocks of {symbols} states", blocks.len()));
            }
            for (n, block) in blocks.into_iter().enumerate() {
                let read = block.read(BLOCK.min(symbols - n * BLOCK));
                states.push(read.ok_or("no block of states")?.into());
            }
        }
        Ok(())
    }
}

impl SlotHead {
    pub(super) fn definition(&self) -> Result<Strategy, PictureError> {
        serde_json::from_str(&self.definition).map_err(|e| PictureError::Damaged(e.to_string()))
    }
}

/// Puts out a picture, section by section.
#[derive(Debug)]
pub(super) struct Writing {
    partition: u32,
    slot: String,
    chunks: u32,
    manifest: Manifest,
}

impl Writing {
    pub(super) fn start(partition: u32, head: &Head, out: &mut Outputs) -> Self {
        let manifest = Manifest {
            schema: SCHEMA,
            seq: head.frame.seq,
            position: head.position,
            sections: Vec::new(),
        };
        let mut writing = Self {
            partition,
            slot: head.frame.slot(),
            chunks: 0,
            manifest,
        };
        writing.section(head, out);
        writing
    }

    /// Puts out the next section.
    pub(super) fn section(&mut self, section: &impl Serialize, out: &mut Outputs) {
        let bytes = postcard::to_stdvec(section).expect("a section has a form");
        let before = self.chunks;
        for chunk in bytes.chunks(MAX_VALUE_BYTES) {
            let key = format!("{}/{}", self.slot, self.chunks);
            out.appends.push(self.append(key, chunk.to_vec()));
            self.chunks += 1;
        }
        self.manifest.sections.push(Section {
            chunks: self.chunks - before,
            sha256: hex::encode(Sha256::digest(&bytes)),
        });
    }

    /// Puts out the manifest: the picture is valid once it is committed.
    pub(super) fn finish(self, out: &mut Outputs) {
        let manifest = serde_json::to_vec(&self.manifest).expect("a manifest is JSON");
        let key = format!("{}/manifest", self.slot);
        out.appends.push(self.append(key, manifest));
    }

    fn append(&self, key: String, value: Vec<u8>) -> Append {
        Append {
            topic: Topic::Checkpoints,
            partition: self.partition,
            key: key.into_bytes(),
            value,
            headers: vec![("Seq", self.manifest.seq.to_string().into_bytes())],
        }
    }
}
