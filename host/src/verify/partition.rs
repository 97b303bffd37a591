//! One partition: brings it to the range as a takeover would, recomputes the range, and hands what comes of it to the
//! comparison.

use super::{Request, Verdict, beginning, comparison::Comparison};
use crate::{
    change::{Change, ON_REPLAY, What},
    control::Components,
    engine::{Outputs, PictureError, Replay, ReplayError, check_gaps, read_changes},
    log::{Append, Group, Log, LogError, Offset, Topic},
    plugin::Digest,
};

/// Rows after which the state is kept anew: bounds the memory, and what a failed instance runs again.
const REBASE_ROWS: usize = 100_000;

/// Why a partition, or a strategy on it, cannot be told about.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotTell {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Picture(#[from] PictureError),
    #[error("{0}")]
    Because(String),
}

/// Compares one partition's signals.
pub(super) fn verify(
    log: &dyn Log,
    components: &Components,
    request: &Request,
    number: u32,
    advanced: &(dyn Fn(u64, u64) + Sync),
) -> Verdict {
    let mut verdict = Verdict::of(number);
    if let Err(error) = attempt(log, components, request, &mut verdict, advanced) {
        verdict.unknown.push(explain(&error, components));
    }
    verdict
}

fn attempt(
    log: &dyn Log,
    components: &Components,
    request: &Request,
    verdict: &mut Verdict,
    advanced: &(dyn Fn(u64, u64) + Sync),
) -> Result<(), CannotTell> {
    let number = verdict.partition;
    // In this order: all that came of what is committed lies below the end that is seen then.
    let position = log.committed(Group::Engine, number)?;
    let end = log.bounds(Topic::Signals, number)?.end;
    let (mut changes, unreadable) = read_changes(log, number)?;
    // The first step of all may have come in between.
    let is_forgotten = position.is_none() && !changes.is_empty();
    if is_forgotten && log.committed(Group::Engine, number)?.is_none() {
        return Err(CannotTell::Because(format!(
            "ticks/{number}: the engine has no committed position, though it wrote changes; nothing says how far it came"
        )));
    }
    let committed = position.unwrap_or(0);
    if let Some(why) = unreadable.into_iter().next() {
        return Err(CannotTell::Because(why));
    }
    let (from, to) = range(log, request, number, committed)?;
    verdict.to = to;

    let mut outputs = Outputs::default();
    let find = |digest: Digest| components.find(digest).ok();
    let partition = beginning::find(log, &find, number, from, to, &changes, &mut outputs)?;
    let begun = partition.position();
    let from = from.unwrap_or(begun).min(to);
    (verdict.from, verdict.replayed_from) = (from, begun);
    changes.retain(|change| change.offset < to);
    check_gaps(&partition, &changes)?;

    let mut comparison = Comparison::start(log, number, from..to, (committed, end), &changes)?;
    for change in &changes {
        if matches!(&change.what, What::Quarantine { reason, .. } if reason.starts_with(ON_REPLAY))
        {
            comparison.give_up(change);
        }
    }
    let mut replay = Replay::start(log, &find, partition, changes)?;
    advanced(to.saturating_sub(begun), 0);
    let compared = compare(&mut replay, &mut comparison, outputs, verdict, advanced);
    let past = comparison.take_past();
    (verdict.signals, verdict.unknown) = comparison.into_counts();
    compared?;
    if verdict.difference.is_none()
        && let Some(past) = past
    {
        // A signal is committed together with a position behind its tick.
        let committed = log.committed(Group::Engine, number)?.unwrap_or(0);
        verdict.difference = (past.offset >= committed).then_some(past);
    }
    Ok(())
}

/// Brings the replay to the range, and recomputes that until it ends or a difference is found. `outputs` are what the
/// beginning brought about.
fn compare(
    replay: &mut Replay<'_>,
    comparison: &mut Comparison,
    mut outputs: Outputs,
    verdict: &mut Verdict,
    advanced: &(dyn Fn(u64, u64) + Sync),
) -> Result<(), CannotTell> {
    while !step(replay, verdict.from, &mut outputs, advanced)? {
        comparison.take(std::mem::take(&mut outputs.appends));
    }
    comparison.take(std::mem::take(&mut outputs.appends));
    let before = outputs.counts.ticks;
    replay.put_out_signals();
    loop {
        let is_done = step(replay, verdict.to, &mut outputs, advanced)?;
        comparison.take(std::mem::take(&mut outputs.appends));
        verdict.ticks = outputs.counts.ticks - before;
        verdict.difference = match is_done {
            true => comparison.finish()?,
            false => comparison.read_on(replay.partition().position())?,
        };
        if is_done || verdict.difference.is_some() {
            return Ok(());
        }
    }
}

/// The offsets that are meant: from, where it is given, and to.
fn range(
    log: &dyn Log,
    request: &Request,
    number: u32,
    committed: Offset,
) -> Result<(Option<Offset>, Offset), CannotTell> {
    let resolve = |name: &str, point: &Option<super::Point>| {
        let Some(point) = point else { return Ok(None) };
        let offset = point.resolve(log, number)?;
        if offset > committed {
            return Err(CannotTell::Because(format!(
                "ticks/{number}: {name} {point} is offset {offset}, above the committed position {committed}; only what is committed can be compared"
            )));
        }
        Ok(Some(offset))
    };
    let from = resolve("--from", &request.from)?;
    let to = resolve("--to", &request.to)?.unwrap_or(committed);
    if let Some(from) = from.filter(|&from| from > to) {
        return Err(CannotTell::Because(format!(
            "ticks/{number}: --from is offset {from}, after --to, which is offset {to}"
        )));
    }
    Ok((from, to))
}

/// Goes on by one poll, up to an offset.
fn step(
    replay: &mut Replay<'_>,
    to: Offset,
    outputs: &mut Outputs,
    advanced: &(dyn Fn(u64, u64) + Sync),
) -> Result<bool, ReplayError> {
    let before = replay.partition().position();
    let is_done = replay.step(to, outputs)?;
    advanced(0, replay.partition().position() - before);
    if replay.partition().rows_since_checkpoint() >= REBASE_ROWS {
        replay.rebase(outputs);
    }
    Ok(is_done)
}

/// A change that a recomputation brought about itself.
pub(super) fn change_of(append: &Append) -> Option<Change> {
    (append.topic == Topic::Changes)
        .then(|| serde_json::from_slice(&append.value).ok())
        .flatten()
}

/// An error in words, with the cause for which a plugin is not here.
fn explain(error: &CannotTell, components: &Components) -> String {
    let (CannotTell::Picture(picture) | CannotTell::Replay(ReplayError::Picture(picture))) = error
    else {
        return error.to_string();
    };
    let PictureError::PluginMissing { strategy, digest } = picture else {
        return error.to_string();
    };
    match digest
        .parse::<Digest>()
        .map(|digest| components.find(digest))
    {
        Ok(Err(why)) => format!("strategy {strategy:?}: {why}"),
        _ => error.to_string(),
    }
}
