//! Finds pictures in `checkpoints`: the newest one that is complete, undamaged and not above an offset, and what is wrong
//! with those that are passed over. Reads from the topic's end backwards, and only as far as that takes.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{
    ReplayError,
    album::Album,
    picture::{Manifest, Picture, SCHEMA, Section},
    replay::read_between,
};
use crate::log::{Log, MessageRef, Messages, Offset, Topic};

/// Offsets that are read at once: at first enough for a picture of ten thousand symbols, at most what memory is for.
const FIRST_WINDOW: u64 = 64;
const LARGEST_WINDOW: u64 = 1024;

/// What `checkpoints` of one partition holds, gathered message by message.
#[derive(Debug, Default)]
pub struct Gallery {
    /// Pictures above it are of no use, and not kept.
    upto: Option<Offset>,
    /// By number of the picture.
    pictures: BTreeMap<u64, Parts>,
    unreadable: Vec<String>,
}

/// What there is of one picture.
#[derive(Debug, Default)]
struct Parts {
    chunks: BTreeMap<u32, Vec<u8>>,
    manifest: Option<Result<Manifest, String>>,
}

/// What a search came to.
#[derive(Debug)]
pub struct Found {
    /// The newest usable picture.
    pub picture: Option<Picture>,
    /// What is wrong with newer ones.
    pub wrong: Vec<String>,
    /// Where the newest was taken of those above the position.
    pub above: Option<Offset>,
    /// The number for the next one.
    pub next_seq: u64,
}

impl Found {
    /// The album for an owner that goes on from here. `changes_from` is the end of `changes` now: what was there before
    /// is in the state of every picture to come.
    #[must_use]
    pub fn album(&self, changes_from: Offset) -> Album {
        let newest = self.picture.as_ref().map(|p| &p.head.frame);
        Album::after(newest, self.next_seq, changes_from)
    }
}

impl Gallery {
    /// Searches a partition of `checkpoints` for the newest usable picture not above a position.
    ///
    /// # Errors
    /// Where the log does not give what it holds.
    pub fn search(log: &dyn Log, partition: u32, position: Offset) -> Result<Found, ReplayError> {
        let bounds = log.bounds(Topic::Checkpoints, partition)?;
        let mut gallery = Self {
            upto: Some(position),
            ..Self::default()
        };
        let (mut from, mut window) = (bounds.end, FIRST_WINDOW);
        loop {
            let to = from;
            from = to.saturating_sub(window).max(bounds.start);
            window = (window * 4).min(LARGEST_WINDOW);
            let checkpoints = Topic::Checkpoints;
            read_between(log, checkpoints, partition, from, to, |messages| {
                let due = messages.iter().filter(|m| m.offset < to);
                due.for_each(|message| gallery.take(message));
            })?;
            let is_all = from == bounds.start;
            if let Some((picture, wrong)) = gallery.judge(position, is_all) {
                return Ok(Found {
                    picture,
                    wrong,
                    above: gallery.above(position),
                    next_seq: gallery.next_seq(),
                });
            }
        }
    }

    /// Takes messages of one stretch of the topic, in any order.
    pub fn add(&mut self, messages: &Messages) {
        messages.iter().for_each(|message| self.take(message));
    }

    /// The number for the next picture.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.pictures.last_key_value().map_or(0, |(seq, _)| seq + 1)
    }

    /// The newest picture not above a position, and what is wrong with newer ones that were passed over.
    #[must_use]
    pub fn newest(&self, position: Offset) -> (Option<Picture>, Vec<String>) {
        self.judge(position, true).unwrap_or_default()
    }

    /// Where the newest complete picture above a position was taken.
    fn above(&self, position: Offset) -> Option<Offset> {
        let manifests = self.pictures.values().filter_map(|p| p.manifest.as_ref());
        let positions = manifests.filter_map(|manifest| Some(manifest.as_ref().ok()?.position));
        positions.filter(|at| *at > position).max()
    }

    fn take(&mut self, message: MessageRef<'_>) {
        let key = String::from_utf8_lossy(message.key);
        let seq = message.headers.get("Seq");
        let seq: Option<u64> = seq.and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
        let part = key.rsplit_once('/').map(|(_, part)| part);
        let (Some(seq), Some(part)) = (seq, part) else {
            self.unreadable.push(format!("key {key:?}"));
            return;
        };
        let parts = self.pictures.entry(seq).or_default();
        if part == "manifest" {
            let manifest = read_manifest(message.value);
            let position = manifest.as_ref().map_or(0, |m| m.position);
            if self.upto.is_some_and(|upto| position > upto) {
                parts.chunks.clear();
            }
            parts.manifest = Some(manifest);
        } else if let Ok(n) = part.parse() {
            let is_above = |m: &Manifest| self.upto.is_some_and(|upto| m.position > upto);
            if !matches!(&parts.manifest, Some(Ok(manifest)) if is_above(manifest)) {
                parts.chunks.insert(n, message.value.to_vec());
            }
        } else {
            self.unreadable.push(format!("key {key:?}"));
        }
    }

    /// The newest usable picture, or that there is none; nothing where that depends on what was not read yet.
    ///
    /// A partition's pictures are written one after another: when anything of an older one was seen, all is known that
    /// there is of a newer one.
    fn judge(&self, position: Offset, is_all: bool) -> Option<(Option<Picture>, Vec<String>)> {
        let mut wrong = self.unreadable.clone();
        let oldest = self.pictures.first_key_value().map(|(seq, _)| *seq);
        for (&seq, parts) in self.pictures.iter().rev() {
            let Some(manifest) = &parts.manifest else {
                // Its owner was stopped before it was complete.
                continue;
            };
            let read = match manifest {
                Ok(manifest) if manifest.position > position => {
                    let at = manifest.position;
                    let why = format!("is at offset {at}, above the committed {position}");
                    Err(Unusable::ForGood(why))
                }
                Ok(manifest) => parts.read(manifest),
                Err(why) => Err(Unusable::ForGood(why.clone())),
            };
            match read {
                Ok(picture) => return Some((Some(picture), wrong)),
                Err(Unusable::Lacks(_)) if !is_all && oldest == Some(seq) => return None,
                Err(Unusable::Lacks(why) | Unusable::ForGood(why)) => {
                    wrong.push(format!("checkpoint {seq} {why}"));
                }
            }
        }
        is_all.then_some((None, wrong))
    }
}

enum Unusable {
    /// Something that may stand further back.
    Lacks(String),
    ForGood(String),
}

impl Parts {
    fn read(&self, manifest: &Manifest) -> Result<Picture, Unusable> {
        let count = |all: u32, section: &Section| all.saturating_add(section.chunks);
        let all = manifest.sections.iter().fold(0, count);
        if let Some(n) = (0..all).find(|n| !self.chunks.contains_key(n)) {
            return Err(Unusable::Lacks(format!("lacks chunk {n} of {all}")));
        }
        let (mut sections, mut next) = (Vec::new(), 0);
        for (n, section) in manifest.sections.iter().enumerate() {
            let mut bytes = Vec::new();
            for chunk in next..next + section.chunks {
                bytes.extend_from_slice(&self.chunks[&chunk]);
            }
            next += section.chunks;
            if hex::encode(Sha256::digest(&bytes)) != section.sha256 {
                let why = format!("has a section, number {n}, that is not of its digest");
                return Err(Unusable::ForGood(why));
            }
            sections.push(bytes);
        }
        let picture = Picture::read(&sections).map_err(Unusable::ForGood)?;
        let seq = picture.head.frame.seq;
        if seq != manifest.seq {
            let why = format!("has the head of checkpoint {seq}");
            return Err(Unusable::ForGood(why));
        }
        Ok(picture)
    }
}

fn read_manifest(bytes: &[u8]) -> Result<Manifest, String> {
    #[derive(serde::Deserialize)]
    struct Form {
        schema: u32,
    }
    let damaged = |e: serde_json::Error| format!("has a manifest that cannot be read: {e}");
    let Form { schema } = serde_json::from_slice(bytes).map_err(damaged)?;
    if schema != SCHEMA {
        return Err(format!("has schema {schema}; this program reads {SCHEMA}"));
    }
    serde_json::from_slice(bytes).map_err(damaged)
}
