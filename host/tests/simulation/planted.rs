//! The bugs that are planted, to see that the simulation finds them. Each is a lie of the model of the log, or a wrong
//! move of whoever drives the owners: the engine itself stays as it is.

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Planted {
    /// `fence` shuts nobody out and leaves the open transaction of the owner before as it is.
    NoFence,
    /// A step is committed whatever became of the assignment under which it was made: where its producer was shut
    /// out, another one is made for it.
    OldEpoch,
    /// What a takeover reads of `checkpoints` and `changes` ends at the last stable offset.
    LastStableOffset,
    /// After an aborted step the input goes back, and the state does not.
    StateKept,
    /// What is known of producers' sequences at the position of a takeover belongs to a later offset.
    SequencesAhead,
    /// Checkpoints of steps that were not committed are seen, and said to be below any position.
    CheckpointAhead,
    /// A replay does not find the rows that were skipped.
    SkipsNotObeyed,
    /// A step whose answer was lost is sent again.
    LostAnswerRepeated,
}

impl Planted {
    /// What a takeover reads of a manifest.
    pub(crate) fn manifest(self, value: &[u8]) -> Option<Vec<u8>> {
        (self == Self::CheckpointAhead).then(|| with_number(value, "\"position\":", 0))
    }

    /// What a takeover reads of a change.
    pub(crate) fn change(self, value: &[u8]) -> Option<Vec<u8>> {
        let skip = || memchr::memmem::find(value, br#""kind":"skip""#).is_some();
        (self == Self::SkipsNotObeyed && skip())
            .then(|| with_number(value, "\"row\":", u64::from(u32::MAX)))
    }
}

/// The text with the number after `name` replaced.
fn with_number(text: &[u8], name: &str, number: u64) -> Vec<u8> {
    let text = std::str::from_utf8(text).expect("the engine writes JSON");
    let (before, after) = text.split_once(name).expect("it has that field");
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}{name}{number}{rest}").into_bytes()
}
