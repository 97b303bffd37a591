//! Where a recomputation begins: with the newest checkpoint at or before the range whose ticks are all still there, or
//! with the first tick that there ever was.

use crate::{
    change::{Change, Warmed, What},
    engine::{FindPlugin, Gallery, Outputs, Partition, Picture, read_all},
    log::{Log, Offset, Topic},
};

use super::partition::CannotTell;

/// Finds the state to begin with. Without `from` that is the oldest there is; what it brings about stands in `out`.
///
/// # Errors
/// Where there is none.
pub(super) fn find(
    log: &dyn Log,
    find: FindPlugin<'_>,
    number: u32,
    from: Option<Offset>,
    to: Offset,
    changes: &[Change],
    out: &mut Outputs,
) -> Result<Partition, CannotTell> {
    let start = log.bounds(Topic::Ticks, number)?.start;
    let first = changes.iter().map(|change| change.seq).min();
    let kept_all = match first {
        Some(seq) => seq == 0,
        None => log.bounds(Topic::Changes, number)?.start == 0,
    };
    // Behind every start for whose warm-up ticks or bars are missing.
    let bars_start = log.bounds(Topic::Bars, number)?.start;
    let is_gone = |warmed: &Warmed| {
        let bars = warmed.warmed_bars.as_ref().filter(|bars| !bars.is_empty());
        warmed.warmed_from < start || bars.is_some_and(|bars| bars.start < bars_start)
    };
    let whole = changes.iter().filter_map(|change| match &change.what {
        What::Start { warmed, .. } if is_gone(warmed) => Some(change.offset + 1),
        _ => None,
    });
    let whole = whole.max().unwrap_or(0).max(start);
    let from_first_tick = whole == 0 && kept_all;
    if from.is_none() && from_first_tick {
        return Ok(Partition::new(number, 0));
    }
    let mut gallery = Gallery::default();
    read_all(log, Topic::Checkpoints, number, |messages| {
        gallery.add(messages)
    })?;
    let (picture, wrong) = match from {
        Some(from) => {
            let (picture, wrong) = gallery.newest(from);
            (picture.filter(|p| p.position() >= whole), wrong)
        }
        None => oldest(&gallery, whole, to),
    };
    if let Some(picture) = picture {
        return Ok(Partition::resume(number, picture, find, out)?);
    }
    if from_first_tick {
        return Ok(Partition::new(number, 0));
    }
    let what = match (start, whole) {
        (0, 0) => "changes",
        (0, _) => "bars",
        _ => "ticks",
    };
    let mut why = format!(
        "ticks/{number}: the first {what} are gone, and there is no usable checkpoint at offsets {start} to {}",
        from.unwrap_or(to)
    );
    if let (Some(_), (Some(picture), _)) = (from, oldest(&gallery, whole, to)) {
        let position = picture.position();
        why.push_str(&format!(
            "; the oldest is at {position}: use --from {position} or more"
        ));
    }
    if !wrong.is_empty() {
        why.push_str(&format!(" ({})", wrong.join("; ")));
    }
    Err(CannotTell::Because(why))
}

/// The oldest picture between two offsets.
fn oldest(gallery: &Gallery, start: Offset, to: Offset) -> (Option<Picture>, Vec<String>) {
    let (mut found, mut wrong) = gallery.newest(to);
    found = found.filter(|picture| picture.position() >= start);
    while let Some(below) = found.as_ref().and_then(|p| p.position().checked_sub(1)) {
        let (older, more) = gallery.newest(below);
        let Some(older) = older.filter(|picture| picture.position() >= start) else {
            break;
        };
        (found, wrong) = (Some(older), more);
    }
    (found, wrong)
}
