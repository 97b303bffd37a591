//! Our own account of where a partition was read to: the client's word for it is not taken.

use crate::log::Offset;

/// What may lie between two messages unread without a question: the markers of transactions that ended side by side, one
/// for each producer that writes to the partition.
const MARKERS: Offset = 16;

/// The place in one partition.
pub(super) struct Account {
    /// The offset of the next message.
    next: Offset,
    /// Whether one has come since the start.
    begun: bool,
}

/// Offsets of which no message came: from the first up to, and without, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: Offset,
    pub(super) to: Offset,
}

/// What a message is to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next one.
    Next,
    /// The next one, after offsets that should be asked about.
    After(Gap),
    /// It came before. The client pauses and resumes by itself, and the message that it was just handing out comes twice.
    Repeat,
}

impl Account {
    pub(super) const fn new(start: Offset) -> Self {
        Self {
            next: start,
            begun: false,
        }
    }

    pub(super) const fn next(&self) -> Offset {
        self.next
    }

    pub(super) fn take(&mut self, offset: Offset) -> Verdict {
        if offset < self.next {
            return Verdict::Repeat;
        }
        let gap = Gap {
            from: self.next,
            to: offset,
        };
        // The first message shows whether reading began where it was told to.
        let free = if self.begun { MARKERS } else { 0 };
        self.next = offset + 1;
        self.begun = true;
        if gap.to - gap.from > free {
            Verdict::After(gap)
        } else {
            Verdict::Next
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_came_before_is_a_repeat() {
        let mut account = Account::new(5);
        assert_eq!(account.take(4), Verdict::Repeat);
        assert_eq!(account.take(5), Verdict::Next);
        assert_eq!(account.take(5), Verdict::Repeat);
        assert_eq!(account.next(), 6);
    }

    #[test]
    fn the_first_message_must_be_the_one_asked_for_and_markers_later_are_free() {
        let mut account = Account::new(5);
        assert_eq!(account.take(6), Verdict::After(Gap { from: 5, to: 6 }));
        assert_eq!(account.take(8), Verdict::Next);
        assert_eq!(account.take(9 + MARKERS), Verdict::Next);
        let next = account.next();
        let far = next + MARKERS + 1;
        assert_eq!(
            account.take(far),
            Verdict::After(Gap {
                from: next,
                to: far
            })
        );
    }
}
