//! States of symbols by number, packed in blocks: a million small allocations would take more memory than what they
//! hold. A block never changes, so that the base of a recovery and a picture in the making share those that are equal
//! in both.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Symbols of one block: so many states are taken anew where one of them changed.
pub(super) const BLOCK: usize = 64;

/// States of the symbols numbered from 0 on; an empty one is none.
#[derive(Clone, Debug, Default)]
pub(super) struct States(Vec<Arc<Block>>);

/// States of up to [`BLOCK`] symbols, one after the other.
#[derive(Debug, Default)]
pub(super) struct Block {
    ends: Box<[u32]>,
    bytes: Box<[u8]>,
}

/// A block in a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredBlock<'a> {
    ends: Vec<u32>,
    #[serde(serialize_with = "as_bytes")]
    bytes: &'a [u8],
}

impl States {
    /// Packs the states of all symbols.
    pub(super) fn of(states: &[Vec<u8>]) -> Self {
        let block = |states: &[Vec<u8>]| Arc::new(Block::of(states.iter().map(Vec::as_slice)));
        Self(states.chunks(BLOCK).map(block).collect())
    }

    /// The block of the symbols from `BLOCK * index` on; an empty one where there is none.
    pub(super) fn block(&self, index: usize) -> Arc<Block> {
        self.0.get(index).cloned().unwrap_or_default()
    }

    /// The blocks from one on.
    pub(super) fn blocks(&self, from: usize) -> &[Arc<Block>] {
        &self.0[from..]
    }

    /// Adds a block. The one before must be full.
    pub(super) fn push(&mut self, block: Arc<Block>) {
        self.0.push(block);
    }

    /// The symbols that have a state, and these.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let all = self.0.iter().flat_map(|block| block.iter());
        (0..).zip(all).filter(|(_, state)| !state.is_empty())
    }
}

impl Block {
    pub(super) fn of<'a>(states: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut ends, mut bytes) = (Vec::with_capacity(BLOCK), Vec::new());
        for state in states {
            bytes.extend_from_slice(state);
            ends.push(u32::try_from(bytes.len()).expect("a block of states is below 4 GiB"));
        }
        Self {
            ends: ends.into(),
            bytes: bytes.into(),
        }
    }

    /// Symbols that it covers.
    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all of its states.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The state of its `n`-th symbol; empty where there is none.
    pub(super) fn get(&self, n: usize) -> &[u8] {
        let Some(&end) = self.ends.get(n) else {
            return &[];
        };
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..end as usize]
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|n| self.get(n))
    }

    pub(super) fn stored(&self) -> StoredBlock<'_> {
        StoredBlock {
            ends: self.ends.to_vec(),
            bytes: &self.bytes,
        }
    }
}

impl StoredBlock<'_> {
    /// What was stored; none where it is no block of so many symbols.
    pub(super) fn read(self, symbols: usize) -> Option<Block> {
        let rises = self.ends.is_sorted();
        let ends_at = self.ends.last().map_or(0, |&end| end as usize);
        (rises && ends_at == self.bytes.len() && self.ends.len() == symbols).then(|| Block {
            ends: self.ends.into(),
            bytes: self.bytes.into(),
        })
    }
}

/// At once, where a sequence goes byte by byte; the form is the same.
fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_as_they_were_packed() {
        let states: Vec<Vec<u8>> = (0..150_u8).map(|n| vec![n; usize::from(n % 3)]).collect();
        let packed = States::of(&states);
        for (n, state) in states.iter().enumerate() {
            assert_eq!(packed.block(n / BLOCK).get(n % BLOCK), state);
        }
        assert_eq!(packed.iter().count(), 100);
        assert!(packed.iter().all(|(n, state)| state == states[n as usize]));
        assert_eq!(packed.block(2).get(22), b"", "beyond the last");
        assert_eq!(packed.block(3).len(), 0);
    }

    #[test]
    fn a_stored_block_that_is_none_is_refused() {
        let block = Block::of([b"ab".as_slice(), b"", b"c"].into_iter());
        let bytes = postcard::to_stdvec(&block.stored()).unwrap();
        let read = |bytes: &[u8], symbols| {
            let stored: StoredBlock<'_> = postcard::from_bytes(bytes).ok()?;
            stored.read(symbols)
        };
        assert_eq!(read(&bytes, 3).unwrap().get(2), b"c");
        assert!(read(&bytes, 2).is_none(), "another number of symbols");
        let mut longer = bytes.clone();
        *longer.last_mut().unwrap() = 0;
        longer[1] = 3;
        assert!(read(&longer, 3).is_none(), "ends that fall");
    }
}
