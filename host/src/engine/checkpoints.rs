//! When pictures of a partition are taken, how fast they go on, and which ticks a replay may still need. Has no thread
//! and no clock of its own.

use std::time::{Duration, Instant};

use super::{Outputs, Partition, PictureProgress, album::Album};
use crate::log::{Append, Log, Offset, Topic};

/// Symbols that are captured in one turn at least: about a millisecond's work.
const SYMBOLS_A_TURN: usize = 512;

/// A picture is complete before a part of the rows came in that lead to the next one: so it holds few symbols twice.
const PART_OF_ROWS: usize = 4;

/// Rows for each symbol between two pictures at least: a picture is worth its cost.
const ROWS_A_SYMBOL: usize = 2;

/// A partition where fewer than one row came in for so many symbols waits for this many intervals.
const SYMBOLS_A_ROW: usize = 4;
const QUIET_INTERVALS: u32 = 30;

/// A picture of so few symbols costs next to nothing, and waits for no rows.
const FEW_SYMBOLS: usize = 1_000;

/// What a step may hold of a picture, in bytes: so that it is not long in hand.
const STEP_BYTES: usize = 2 << 20;

/// When the state of a partition is kept anew.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointEvery {
    /// After this many rows, or two for each symbol where that is more: bounds what a failed instance and a takeover
    /// replay, and the memory held for it.
    pub rows: usize,
    /// After this long, if there was any message or change.
    pub interval: Duration,
}

impl Default for CheckpointEvery {
    fn default() -> Self {
        Self {
            rows: 100_000,
            interval: Duration::from_secs(10),
        }
    }
}

/// The checkpoints of one partition that is ours.
#[derive(Debug)]
pub(super) struct Checkpoints {
    every: CheckpointEvery,
    album: Album,
    /// When, and at which offset, the newest picture was begun.
    begun_at: Instant,
    begun: Offset,
    /// Whether one is in the making; it may have been given up since the last turn.
    is_making: bool,
    was_given_up: bool,
    /// Whether the one in the making, or the newest, follows one that was given up.
    is_second_try: bool,
    /// Whether a strategy came or went since the newest picture was begun. Without one a takeover warms it up again,
    /// from ticks that retention removes in the end, however long no other tick comes.
    changed: bool,
    /// Rows that the partition held at the last turn.
    rows: usize,
    /// Bytes put out in the step in the making.
    step_bytes: usize,
    /// Bytes of the picture in the making.
    bytes: usize,
    /// Offset of the picture whose manifest is in the step in the making, and of the one that is being committed.
    made: Option<Offset>,
    in_hand: Option<Offset>,
    kept: Option<Kept>,
}

/// The newest committed picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it has not seen yet.
    pub position: Offset,
    /// When it was known to be committed, or read.
    pub at: Instant,
}

impl Checkpoints {
    /// `newest` is the offset of the picture from which the partition was taken over, `changed` whether strategies came
    /// or went since.
    pub(super) fn new(
        every: CheckpointEvery,
        album: Album,
        newest: Option<Offset>,
        changed: bool,
        now: Instant,
    ) -> Self {
        Self {
            every,
            album,
            begun_at: now,
            begun: newest.unwrap_or(0),
            is_making: false,
            was_given_up: false,
            is_second_try: false,
            changed,
            rows: 0,
            step_bytes: 0,
            bytes: 0,
            made: None,
            in_hand: None,
            kept: newest.map(|position| Kept { position, at: now }),
        }
    }

    /// Begins a picture where one is due, and goes on with the one in the making. Returns the bytes put out.
    pub(super) fn turn(
        &mut self,
        partition: &mut Partition,
        out: &mut Outputs,
        now: Instant,
    ) -> usize {
        let rows = partition.rows_since_checkpoint();
        let fed = rows.saturating_sub(self.rows);
        self.rows = rows;
        if self.is_making && partition.is_taking_picture() {
            if self.step_bytes >= STEP_BYTES {
                return 0;
            }
            let most = self.most_rows(partition);
            let due = PART_OF_ROWS
                .saturating_mul(fed)
                .saturating_mul(partition.symbols())
                / most;
            let room = STEP_BYTES - self.step_bytes;
            return self.advance(due.max(SYMBOLS_A_TURN), room, partition, out, now);
        }
        self.was_given_up |= std::mem::take(&mut self.is_making);
        if !self.was_given_up && !self.is_due(partition, now) {
            return 0;
        }
        self.is_second_try = std::mem::take(&mut self.was_given_up);
        self.begin(partition, out, now)
    }

    /// Whether strategies have to wait before they come or go: a picture that one of them ended is being taken again.
    pub(super) const fn holds_strategies(&self, partition: &Partition) -> bool {
        self.is_making && self.is_second_try && partition.is_taking_picture()
    }

    /// Takes a whole picture at once. Returns the bytes put out.
    pub(super) fn whole(
        &mut self,
        partition: &mut Partition,
        out: &mut Outputs,
        now: Instant,
    ) -> usize {
        self.begin(partition, out, now) + self.advance(usize::MAX, usize::MAX, partition, out, now)
    }

    /// The step in the making is on its way.
    pub(super) fn submitted(&mut self) {
        self.step_bytes = 0;
        self.in_hand = self.made.take();
    }

    /// The step that was on its way is committed: nobody needs the ticks below the picture before the newest any more.
    pub(super) fn settled(&mut self, log: &dyn Log, number: u32) {
        let Some(position) = self.in_hand.take() else {
            return;
        };
        let floor = self.kept.map_or(position, |kept| kept.position);
        log.keep_from(Topic::Ticks, number, floor);
        // The next picture knows all changes that are there: only its owner makes any. A takeover need not read them.
        if let Ok(changes) = log.bounds(Topic::Changes, number) {
            self.album.pass_changes(changes.end);
        }
        let at = Instant::now();
        self.kept = Some(Kept { position, at });
    }

    pub(super) const fn kept(&self) -> Option<Kept> {
        self.kept
    }

    /// A strategy came or went.
    pub(super) const fn note_change(&mut self) {
        self.changed = true;
    }

    /// Whether there is anything that the newest picture has not seen.
    pub(super) const fn is_wanted(&self, partition: &Partition) -> bool {
        self.changed || self.is_making || self.was_given_up || partition.rows_since_checkpoint() > 0
    }

    fn most_rows(&self, partition: &Partition) -> usize {
        self.every.rows.max(ROWS_A_SYMBOL * partition.symbols())
    }

    fn is_due(&self, partition: &Partition, now: Instant) -> bool {
        let rows = partition.rows_since_checkpoint();
        if rows >= self.most_rows(partition) {
            return true;
        }
        // Messages without rows count too: a replay has to read them, and retention removes them.
        if partition.position() == self.begun && !self.changed {
            return false;
        }
        let symbols = partition.symbols();
        let is_worth_it = symbols <= FEW_SYMBOLS || rows * SYMBOLS_A_ROW >= symbols;
        let interval = match is_worth_it || self.changed {
            true => self.every.interval,
            false => self.every.interval.saturating_mul(QUIET_INTERVALS),
        };
        now.duration_since(self.begun_at) >= interval
    }

    fn begin(&mut self, partition: &mut Partition, out: &mut Outputs, now: Instant) -> usize {
        self.begun_at = now;
        self.begun = partition.position();
        self.is_making = true;
        self.changed = false;
        self.bytes = 0;
        self.count(out, |album, out| partition.begin_picture(album, out))
    }

    /// Goes on by so many symbols, or until about so many bytes are put out.
    fn advance(
        &mut self,
        symbols: usize,
        bytes: usize,
        partition: &mut Partition,
        out: &mut Outputs,
        now: Instant,
    ) -> usize {
        let mut progress = PictureProgress::Unfinished;
        let bytes = self.count(out, |album, out| {
            let (mut left, before) = (symbols, out.appends.len());
            while left > 0
                && progress == PictureProgress::Unfinished
                && put_out(&out.appends[before..]) < bytes
            {
                let some = left.min(SYMBOLS_A_TURN);
                progress = partition.advance_picture(some, album, out);
                left -= some;
            }
        });
        if progress == PictureProgress::Complete {
            self.is_making = false;
            self.made = Some(self.begun);
            self.rows = partition.rows_since_checkpoint();
            metrics::histogram!("wigwag_engine_checkpoint_seconds")
                .record(now.duration_since(self.begun_at).as_secs_f64());
            metrics::gauge!("wigwag_engine_checkpoint_bytes", "partition" => partition.number().to_string())
                .set(self.bytes as f64);
        }
        bytes
    }

    /// Measures what a part of a picture puts out, and for how long it keeps the partition.
    fn count(&mut self, out: &mut Outputs, part: impl FnOnce(&mut Album, &mut Outputs)) -> usize {
        let (started, before) = (Instant::now(), out.appends.len());
        part(&mut self.album, out);
        metrics::histogram!("wigwag_engine_checkpoint_stall_seconds")
            .record(started.elapsed().as_secs_f64());
        let bytes = put_out(&out.appends[before..]);
        self.bytes += bytes;
        self.step_bytes += bytes;
        bytes
    }
}

fn put_out(appends: &[Append]) -> usize {
    appends.iter().map(|append| append.value.len()).sum()
}
