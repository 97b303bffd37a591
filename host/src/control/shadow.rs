//! Where the signals of a shadow differ from those of its strategy: both topics are read from where the shadow began, as
//! far as the engine has committed, and compared tick by tick.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Control, info::ControlError};
use crate::{
    log::{Bounds, Group, Log, LogError, Messages, Offset, Start, Topic},
    market::Side,
    strategy::Strategy,
};

/// Messages of a topic's partition that are read at most: the newest.
const MESSAGES: Offset = 50_000;

/// Differences that are shown: the newest.
const SHOWN: usize = 100;

/// A report takes no longer.
const WITHIN: Duration = Duration::from_secs(20);

const POLL_BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_millis(100);

/// A message is written after its tick, but perhaps by another clock.
const CLOCKS_APART_MS: i64 = 60_000;

/// Where a shadow's signals differ from the live ones.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShadowReport {
    /// The strategy's id.
    pub strategy: String,
    /// SHA-256 of the live component.
    pub live_digest: String,
    /// SHA-256 of the shadow's component.
    pub shadow_digest: String,
    /// Signals that are the same but for plugin and parameters.
    pub same: u64,
    /// Signals at the same tick that say something else.
    pub different: u64,
    /// Signals that only the live version gave.
    pub only_live: u64,
    /// Signals that only the shadow gave.
    pub only_shadow: u64,
    /// What was compared.
    pub partitions: Vec<ShadowPartition>,
    /// The newest of the differences, the newest tick first.
    pub differences: Vec<ShadowDifference>,
}

/// Ticks of a partition whose signals were compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShadowPartition {
    /// The partition of `ticks`.
    pub partition: u32,
    /// From this offset on: where the shadow began, or as far back as is looked.
    pub from: Offset,
    /// Up to, and without, this offset.
    pub to: Offset,
}

/// A tick at which the two do not say the same.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ShadowDifference {
    /// Where the tick stands.
    pub partition: u32,
    /// Where the tick stands.
    pub offset: Offset,
    /// Where the tick stands.
    pub row: u32,
    /// The tick's symbol.
    pub symbol: String,
    /// The tick's time, seconds since the epoch.
    pub timestamp: f64,
    /// What the live version says.
    pub live: Option<Opinion>,
    /// What the shadow says.
    pub shadow: Option<Opinion>,
}

/// What a signal says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Opinion {
    /// Buy or sell.
    pub side: Side,
    /// 0 to 1.
    pub strength: f64,
    /// One line for a person.
    pub reason: String,
    /// The version's values at the tick.
    #[schema(value_type = Object)]
    pub values: Map<String, Value>,
}

/// The parts of a signal that are looked at.
#[derive(Deserialize)]
struct Signal {
    strategy: String,
    plugin_digest: String,
    params_digest: String,
    symbol: String,
    timestamp: f64,
    offset: Offset,
    row: u32,
    n: u32,
    #[serde(flatten)]
    opinion: Opinion,
}

type Signals = BTreeMap<(Offset, u32, u32), Signal>;

/// Compares a strategy's shadow with it. Blocks.
pub(super) fn report(control: &Control, id: &str) -> Result<ShadowReport, ControlError> {
    let shadow_id = Strategy::shadow_id(id);
    let (live, shadow) = (control.definition(id), control.definition(&shadow_id));
    let (Some(live), Some(shadow)) = (live, shadow) else {
        return Err(ControlError::NotFound {
            what: format!("a shadow of strategy {id:?}"),
        });
    };
    let since = control.shared.catalogue().shadow_since(&shadow_id);
    let mut report = ShadowReport {
        strategy: id.to_owned(),
        live_digest: live.plugin_digest.clone(),
        shadow_digest: shadow.plugin_digest.clone(),
        same: 0,
        different: 0,
        only_live: 0,
        only_shadow: 0,
        partitions: Vec::new(),
        differences: Vec::new(),
    };
    let until = Instant::now() + WITHIN;
    for (partition, (since, written_ms)) in since {
        let looked = Looking {
            log: &*control.log,
            live: &live,
            shadow: &shadow,
            partition,
            since,
            written_ms,
            until,
        };
        (looked.compare(&mut report)).map_err(ControlError::Unavailable)?;
        report.keep_newest();
    }
    Ok(report)
}

impl ShadowReport {
    /// Of the differences only those that are shown, the newest tick first.
    fn keep_newest(&mut self) {
        (self.differences).sort_by(|a, b| b.timestamp.total_cmp(&a.timestamp));
        self.differences.truncate(SHOWN);
    }
}

/// Whether a signal is of this version.
fn of(version: &Strategy) -> impl Fn(&&Signal) -> bool {
    move |signal| {
        signal.plugin_digest == version.plugin_digest
            && signal.params_digest == version.params_digest
    }
}

struct Looking<'a> {
    log: &'a dyn Log,
    live: &'a Strategy,
    shadow: &'a Strategy,
    partition: u32,
    since: Offset,
    written_ms: i64,
    until: Instant,
}

impl Looking<'_> {
    fn compare(&self, report: &mut ShadowReport) -> Result<(), LogError> {
        let partition = self.partition;
        // In this order: all that came of what is committed lies below the ends that are seen then.
        let committed = self.log.committed(Group::Engine, partition)?;
        let to = committed.unwrap_or(0);
        let (live, from_live) = self.signals(Topic::Signals, &report.strategy)?;
        let (shadow, from_shadow) = self.signals(Topic::Shadow, &report.strategy)?;
        let from = self.since.max(from_live).max(from_shadow).min(to);
        report.partitions.push(ShadowPartition {
            partition,
            from,
            to,
        });
        // What an earlier version said is not compared.
        let (of_live, of_shadow) = (of(self.live), of(self.shadow));
        let (from, to) = ((from, 0, 0), (to, 0, 0));
        let mut places: Vec<_> = live.range(from..to).map(|(place, _)| *place).collect();
        places.extend(shadow.range(from..to).map(|(place, _)| *place));
        places.sort_unstable();
        places.dedup();
        for place in places {
            let live = live.get(&place).filter(&of_live);
            let shadow = shadow.get(&place).filter(&of_shadow);
            let count = match (live, shadow) {
                (Some(a), Some(b)) if a.opinion == b.opinion => {
                    report.same += 1;
                    continue;
                }
                (Some(_), Some(_)) => &mut report.different,
                (Some(_), None) => &mut report.only_live,
                (None, Some(_)) => &mut report.only_shadow,
                (None, None) => continue,
            };
            *count += 1;
            let Some(any) = live.or(shadow) else { continue };
            report.differences.push(ShadowDifference {
                partition,
                offset: any.offset,
                row: any.row,
                symbol: any.symbol.clone(),
                timestamp: any.timestamp,
                live: live.map(|s| s.opinion.clone()),
                shadow: shadow.map(|s| s.opinion.clone()),
            });
        }
        Ok(())
    }

    /// A strategy's signals on a topic, and the offset of `ticks` from which on all of them are there.
    fn signals(&self, topic: Topic, strategy: &str) -> Result<(Signals, Offset), LogError> {
        let partition = self.partition;
        let began_ms = self.written_ms - CLOCKS_APART_MS;
        let began = self.log.offset_at(topic, partition, began_ms)?;
        let Bounds { start, end } = self.log.bounds(topic, partition)?;
        let offset = began.max(start).max(end.saturating_sub(MESSAGES));
        let is_cut = offset > began.max(start) || began < start;
        let (mut signals, mut newest) = (Signals::new(), 0);
        if offset >= end {
            return Ok((signals, 0));
        }
        let start = Start {
            topic,
            partition,
            offset,
        };
        let mut reader = self.log.read(&[start])?;
        let mut messages = Messages::new();
        while reader.position(topic, partition) < end {
            if Instant::now() > self.until {
                return Err(LogError::Unavailable {
                    log: format!("{topic}/{partition}"),
                    detail: format!("not read within {} s", WITHIN.as_secs()),
                });
            }
            messages.clear();
            reader.poll(&mut messages, POLL_BYTES, PATIENCE)?;
            for message in messages.iter() {
                let Ok(signal) = serde_json::from_slice::<Signal>(message.value) else {
                    continue;
                };
                newest = newest.max(signal.offset);
                if signal.strategy == strategy {
                    signals.insert((signal.offset, signal.row, signal.n), signal);
                }
            }
        }
        // A strategy's signals stand in the order of their ticks, so from its first one on there is none missing.
        let from = match (is_cut, signals.first_key_value()) {
            (false, _) => 0,
            (true, Some((first, _))) => first.0 + 1,
            (true, None) => newest + 1,
        };
        Ok((signals, from))
    }
}
