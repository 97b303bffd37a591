//! What must be seen at the end: what one process without faults makes of the same `ticks`, obeying the recorded
//! `changes`. It judges by what a reader of committed messages sees, and knows nothing of what happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wigwag::{
    change::{Change, Warmed, What},
    engine::{Outputs, Partition},
    log::{Log, MessageRef, Messages, Offset, Start, Topic},
    strategy::Strategy,
};

use super::{
    client::{ModelLog, history},
    cluster::{PARTITIONS, Shared, lock},
    deployment::find,
};

/// The outputs of a topic in order, by what orders them: for signals strategy and symbol, for changes the strategy,
/// else the key.
type Streams = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// What there was to be judged.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Judged {
    /// Of shadows.
    pub(crate) promotions: usize,
    /// Signals of strategies that read bars.
    pub(crate) signals_of_bars: usize,
}

/// Why a run is not as one without faults; of one that is, what was in it.
pub(crate) fn judge(cluster: &Shared) -> Result<Judged, String> {
    let mut all = Judged::default();
    for partition in 0..PARTITIONS {
        let judged = judge_partition(cluster, partition, &mut all);
        judged.map_err(|e| format!("partition {partition}: {e}"))?;
    }
    Ok(all)
}

fn judge_partition(cluster: &Shared, partition: u32, all: &mut Judged) -> Result<(), String> {
    let ticks = history(&lock(cluster), Topic::Ticks, partition);
    let committed = lock(cluster).committed(partition);
    let end = lock(cluster).input_end(partition);
    if committed.unwrap_or(0) < end {
        return Err(format!("the committed position is {committed:?} of {end}"));
    }
    let changes = read(cluster, Topic::Changes, partition)?;
    let changes: Vec<Change> = changes
        .iter()
        .map(|m| serde_json::from_slice(m.value).map_err(|e| format!("a change: {e}")))
        .collect::<Result<_, _>>()?;
    check_changes(&changes)?;
    let bars = read(cluster, Topic::Bars, partition)?;
    let expected = without_faults(partition, &ticks, &bars, &changes);
    for topic in [
        Topic::Changes,
        Topic::Signals,
        Topic::Shadow,
        Topic::Values,
        Topic::Bars,
    ] {
        let seen = read(cluster, topic, partition)?;
        let seen = streams(topic, seen.iter().map(|m| (m.key, m.value)));
        let appends = expected.appends.iter().filter(|a| a.topic == topic);
        let wanted = streams(
            topic,
            appends.map(|a| (a.key.as_slice(), a.value.as_slice())),
        );
        compare(topic, &seen, &wanted)?;
        if topic == Topic::Signals {
            let is_of_bar = |signal: &&Vec<u8>| memchr::memmem::find(signal, b"\"bar\":").is_some();
            all.signals_of_bars += seen.values().flatten().filter(is_of_bar).count();
        }
    }
    let is_promotion = |change: &&Change| matches!(change.what, What::Promote { .. });
    all.promotions += changes.iter().filter(is_promotion).count();
    Ok(())
}

/// What a reader of committed messages sees of a whole partition.
fn read(cluster: &Shared, topic: Topic, partition: u32) -> Result<Messages, String> {
    let log = ModelLog::new(cluster.clone(), None);
    let mut seen = Messages::new();
    let end = log.bounds(topic, partition).map_err(|e| e.to_string())?.end;
    let start = Start {
        topic,
        partition,
        offset: 0,
    };
    let mut reader = log.read(&[start]).map_err(|e| e.to_string())?;
    reader
        .poll(&mut seen, usize::MAX, std::time::Duration::ZERO)
        .map_err(|e| e.to_string())?;
    match reader.position(topic, partition) {
        at if at < end => Err(format!("a reader of {topic} is held up at {at} of {end}")),
        _ => Ok(seen),
    }
}

/// Numbers without a gap, and at each offset at most one definition of a strategy.
fn check_changes(changes: &[Change]) -> Result<(), String> {
    let mut running: BTreeMap<&str, bool> = BTreeMap::new();
    let mut offsets: BTreeMap<&str, Offset> = BTreeMap::new();
    for (n, change) in (0..).zip(changes) {
        if change.seq != n {
            let seq = change.seq;
            return Err(format!(
                "change {n} of the log has number {seq}: {change:?}"
            ));
        }
        let last = offsets.insert(&change.strategy, change.offset).unwrap_or(0);
        if last > change.offset {
            return Err(format!("a change before offset {last}: {change:?}"));
        }
        if let What::Promote { definition } = &change.what {
            let shadow = Strategy::shadow_id(&definition.id);
            let (_, runs) = running
                .iter_mut()
                .find(|(id, _)| **id == shadow)
                .ok_or_else(|| format!("there was never a shadow at {change:?}"))?;
            if !std::mem::take(runs) {
                return Err(format!("no shadow runs at {change:?}"));
            }
            running.insert(&change.strategy, true);
            continue;
        }
        let starts = matches!(change.what, What::Start { .. });
        let runs = running.entry(&change.strategy).or_default();
        if starts == *runs {
            return Err(format!("its strategy runs: {runs}, at {change:?}"));
        }
        *runs = !matches!(change.what, What::Stop { .. });
    }
    Ok(())
}

/// One process, one run over all. What is warmed up with `bars` sees those that are there, which are compared too.
fn without_faults(
    partition: u32,
    ticks: &Messages,
    bars: &Messages,
    changes: &[Change],
) -> Outputs {
    let mut outputs = Outputs::default();
    let mut engine = Partition::new(partition, 0);
    let mut ticks_left = ticks.iter().peekable();
    for change in changes {
        if matches!(
            change.what,
            What::Start { .. } | What::Promote { .. } | What::Stop { .. }
        ) {
            let before = std::iter::from_fn(|| ticks_left.next_if(|m| m.offset < change.offset));
            engine.feed(before, &mut outputs);
        }
        match &change.what {
            What::Start { definition, warmed } => {
                let seen = match &warmed.warmed_bars {
                    Some(range) => pick(bars, range.clone()),
                    None => pick(ticks, warmed.warmed_from..change.offset),
                };
                start(&mut engine, definition, &seen, warmed, &mut outputs);
            }
            What::Promote { definition } => {
                let definition = Arc::new(Strategy::clone(definition));
                engine.promote(definition, false, &mut outputs);
            }
            What::Stop { why } => engine.stop(&change.strategy, *why, false, &mut outputs),
            What::Skip { .. } | What::Quarantine { .. } => {}
        }
    }
    engine.feed(ticks_left, &mut outputs);
    outputs
}

/// The messages at these offsets.
fn pick(all: &Messages, range: std::ops::Range<Offset>) -> Messages {
    let mut picked = Messages::new();
    for m in all.iter().filter(|m| range.contains(&m.offset)) {
        let MessageRef {
            topic,
            partition,
            offset,
            timestamp_ms,
            key,
            value,
            headers,
        } = m;
        picked.push(
            topic,
            partition,
            offset,
            timestamp_ms,
            key,
            value,
            headers.iter(),
        );
    }
    picked
}

fn start(
    engine: &mut Partition,
    definition: &Strategy,
    warm_up: &Messages,
    warmed: &Warmed,
    outputs: &mut Outputs,
) {
    let digest = definition.plugin_digest.parse().expect("a digest");
    let plugin = find(digest).expect("one of ours");
    let definition = Arc::new(definition.clone());
    engine.start(definition, plugin, warm_up, warmed.clone(), false, outputs);
}

fn streams<'m>(topic: Topic, messages: impl Iterator<Item = (&'m [u8], &'m [u8])>) -> Streams {
    let mut streams = Streams::new();
    for (key, value) in messages {
        let (key, value) = match topic {
            // Its id begins with the strategy.
            Topic::Signals | Topic::Shadow => {
                let strategy = between(value, b"\"id\":\"", b':');
                ([strategy, b"/", key].concat(), value.to_vec())
            }
            // In which order two strategies come to their changes is not given.
            Topic::Changes => (key.to_vec(), [b"...", between(value, b",", b'\0')].concat()),
            _ => (key.to_vec(), value.to_vec()),
        };
        streams.entry(key).or_default().push(value);
    }
    streams
}

/// The text after the first `start` up to the next `end`, or all that is left.
fn between<'t>(text: &'t [u8], start: &[u8], end: u8) -> &'t [u8] {
    let from = memchr::memmem::find(text, start).map_or(0, |at| at + start.len());
    let rest = &text[from..];
    &rest[..memchr::memchr(end, rest).unwrap_or(rest.len())]
}

fn compare(topic: Topic, seen: &Streams, wanted: &Streams) -> Result<(), String> {
    if seen == wanted {
        return Ok(());
    }
    let none = Vec::new();
    let keys: BTreeSet<_> = seen.keys().chain(wanted.keys()).collect();
    for key in keys {
        let (seen, wanted) = (
            seen.get(key).unwrap_or(&none),
            wanted.get(key).unwrap_or(&none),
        );
        if seen == wanted {
            continue;
        }
        let at = (0..)
            .find(|&n| seen.get(n) != wanted.get(n))
            .expect("they differ");
        let text = |of: &Vec<Vec<u8>>| match of.get(at) {
            Some(value) => String::from_utf8_lossy(value).into_owned(),
            None => "nothing".to_owned(),
        };
        return Err(format!(
            "{topic} of {}: number {at} of {} is\n  {}\nand without faults, of {},\n  {}",
            String::from_utf8_lossy(key),
            seen.len(),
            text(seen),
            wanted.len(),
            text(wanted)
        ));
    }
    Ok(())
}
