//! Numbers the pictures of a partition and says under which keys of `checkpoints` each is kept: the newest ones rotate
//! through a few slots, and the first of each hour goes to a slot of its own, which stays as long as `ticks`.

use serde::{Deserialize, Serialize};

use crate::log::Offset;

/// Rotating slots: so many of the newest pictures are kept.
const SLOTS: u64 = 4;

/// Slots of hours: as many as `ticks` are kept.
const HOURS: u64 = 7 * 24;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// The pictures that a partition has, as far as the next one needs to know.
#[derive(Clone, Debug, Default)]
pub struct Album {
    next_seq: u64,
    /// The rotating slot that was filled last.
    rotation: u64,
    /// The newest hour that has a picture.
    hour: Option<u64>,
    /// Below it there is nothing in `changes` that a replay from a new picture needs.
    changes_from: Offset,
}

/// One picture's number and place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Rises with each picture of the partition.
    pub(super) seq: u64,
    rotation: u64,
    hour: Option<u64>,
    is_hourly: bool,
    pub(super) changes_from: Offset,
}

impl Album {
    /// What goes on after the newest valid picture. `next_seq` is above the number of every picture that was begun.
    pub(super) fn after(newest: Option<&Frame>, next_seq: u64, changes_from: Offset) -> Self {
        Self {
            next_seq,
            rotation: newest.map_or(0, |frame| frame.rotation),
            hour: newest.and_then(|frame| frame.hour),
            changes_from,
        }
    }

    /// The place of the next picture, whose newest message was appended at this time (milliseconds since the epoch).
    /// It is the same place again where the one before was not completed, so that valid ones stay.
    pub(super) fn next(&mut self, append_ms: i64) -> Frame {
        let seq = self.next_seq;
        self.next_seq += 1;
        let hour = u64::try_from(append_ms).unwrap_or(0) / HOUR_MS;
        let is_hourly = self.hour.is_none_or(|last| hour > last);
        Frame {
            seq,
            rotation: match is_hourly {
                true => self.rotation,
                false => (self.rotation + 1) % SLOTS,
            },
            hour: if is_hourly { Some(hour) } else { self.hour },
            is_hourly,
            changes_from: self.changes_from,
        }
    }

    /// Takes note of an end of `changes` below which all is in the partition's state.
    pub(super) fn pass_changes(&mut self, end: Offset) {
        self.changes_from = self.changes_from.max(end);
    }

    /// Takes note that a picture is complete.
    pub(super) const fn keep(&mut self, frame: &Frame) {
        self.rotation = frame.rotation;
        self.hour = frame.hour;
    }
}

impl Frame {
    /// What its keys begin with.
    pub(super) fn slot(&self) -> String {
        match self.hour {
            Some(hour) if self.is_hourly => format!("hour/{}", hour % HOURS),
            _ => self.rotation.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(album: &mut Album, times_ms: &[i64]) -> Vec<String> {
        let take = |&time: &i64| {
            let frame = album.next(time);
            album.keep(&frame);
            frame.slot()
        };
        times_ms.iter().map(take).collect()
    }

    #[test]
    fn pictures_rotate_and_the_first_of_each_hour_stays() {
        let hour = HOUR_MS as i64;
        let mut album = Album::default();
        let times = [
            hour,
            hour,
            hour + 1,
            2 * hour - 1,
            2 * hour,
            2 * hour,
            3 * hour,
        ];
        let expected = ["hour/1", "1", "2", "3", "hour/2", "0", "hour/3"];
        assert_eq!(slots(&mut album, &times), expected);
        assert_eq!(slots(&mut album, &[169 * hour]), ["hour/1"]);
        assert_eq!(
            slots(&mut album, &[168 * hour]),
            ["1"],
            "a clock that was set back"
        );
    }

    #[test]
    fn one_that_is_not_completed_leaves_the_others_in_place() {
        let mut album = Album::default();
        slots(&mut album, &[0, 0, 0]);
        let (first, second) = (album.next(0), album.next(0));
        assert_eq!((first.slot(), second.slot()), ("3".into(), "3".into()));
        assert!(first.seq < second.seq);
        let later = Album::after(Some(&second), 9, 0).next(0);
        assert_eq!((later.slot(), later.seq), ("0".into(), 9));
    }
}
