//! What the two kinds of stream share: what may be asked for, from where on, how many may be open, and the words for each
//! event. Knows nothing of how events are framed.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::{
    App, Shared,
    body::SymbolParam,
    problem::{BAD_REQUEST, Problem, UNAVAILABLE},
    signals::SideParam,
};
use crate::view::{Event, Filter, Kinds, Positions, Subscription, View};

pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// What is taken at once for a client, of each kind: a slow one has no more than this in memory.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// How long a stream waits before it asks a view again that could not answer.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What to stream.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Only of this symbol.
    #[param(value_type = Option<String>)]
    symbol: Option<SymbolParam>,
    /// Signals and values only of this strategy.
    strategy: Option<String>,
    /// Signals only of this side: `buy` or `sell`.
    #[param(value_type = Option<String>)]
    side: Option<SideParam>,
    /// Some of `signal`, `value`, `bar`, `tick`, joined by commas.
    #[serde(default)]
    #[param(value_type = Option<String>, default = "signal", example = "signal,value")]
    types: Types,
}

struct Types(Kinds);

impl Default for Types {
    fn default() -> Self {
        Self(Kinds {
            signals: true,
            ..Kinds::default()
        })
    }
}

impl<'de> Deserialize<'de> for Types {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut kinds = Kinds::default();
        for kind in String::deserialize(deserializer)?.split(',') {
            match kind {
                "signal" => kinds.signals = true,
                "value" => kinds.values = true,
                "bar" => kinds.bars = true,
                "tick" => kinds.ticks = true,
                other => {
                    return Err(D::Error::custom(format!(
                        "types has {other:?}; use some of signal, value, bar, tick, joined by commas"
                    )));
                }
            }
        }
        Ok(Self(kinds))
    }
}

impl StreamQuery {
    pub(super) fn subscribe(self, view: &View, positions: Option<Positions>) -> Subscription {
        let filter = Filter {
            symbol: self.symbol.map(|symbol| symbol.0),
            strategy: self.strategy,
            side: self.side.map(|side| side.0),
        };
        view.subscribe(filter, self.types.0, positions)
    }
}

/// The place that a client names, as it was told it with an event. `field` is where it named it.
pub(super) fn positions(view: &View, field: &str, id: &str) -> Result<Positions, Problem> {
    Positions::parse(id, view.partitions())
        .map_err(|error| Problem::of_field(BAD_REQUEST, field, error.to_string()))
}

/// The name of an event and its JSON, as both kinds of stream tell it.
pub(super) fn words(event: Event<'_>) -> (&'static str, Cow<'_, [u8]>) {
    match event {
        Event::Signal(json) => ("signal", json.into()),
        Event::Value(json) => ("value", json.into()),
        Event::Bar(json) => ("bar", json.into()),
        Event::Tick(json) => ("tick", json.into()),
        Event::Gap {
            partition,
            from,
            to,
        } => {
            let json = format!("{{\"partition\":{partition},\"from\":{from},\"to\":{to}}}");
            ("gap", json.into_bytes().into())
        }
    }
}

/// The right to have one stream open; counted while it lives.
pub(super) struct Seat(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Seat {
    pub(super) fn take(shared: &Shared) -> Result<Self, Problem> {
        let App { limits, .. } = &*shared.app;
        let Ok(permit) = shared.streams.clone().try_acquire_owned() else {
            let streams = limits.streams;
            return Err(Problem::new(
                UNAVAILABLE,
                format!("{streams} streams are open already; close some or ask another replica"),
            ));
        };
        metrics::gauge!("wigwag_http_streams").increment(1);
        Ok(Self(permit))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("wigwag_http_streams").decrement(1);
    }
}
