//! Signals, newest first, and one by its id.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::{
    App,
    auth::{Caller, ToRead},
    blocking,
    body::{Limit, NoParameters, Query, Since, SymbolParam, Until},
    json, json_list,
    problem::{BAD_REQUEST, NOT_FOUND, Problem},
};
use crate::{
    control::Provenance,
    market::Side,
    signal::{Signal, SignalBar, SignalId},
    view::{Cursor, PointsQuery, SignalsQuery, ViewError},
};

/// Which signals.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only of this symbol.
    #[param(value_type = Option<String>)]
    symbol: Option<SymbolParam>,
    /// Only of this strategy.
    strategy: Option<String>,
    /// Only `buy` or only `sell`.
    #[param(value_type = Option<String>)]
    side: Option<SideParam>,
    /// Only those whose `strength` is not below this: 0 to 1.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1)]
    min_strength: Option<MinStrength>,
    /// Only those whose `timestamp` is not before this: seconds since the epoch, or as 2026-01-31T12:00:00Z.
    #[param(value_type = Option<String>)]
    since: Option<Since>,
    /// Only those whose `timestamp` is before this: seconds since the epoch, or as 2026-01-31T12:00:00Z.
    #[param(value_type = Option<String>)]
    until: Option<Until>,
    /// At most so many: 1 to 1000.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<CursorParam>,
}

/// `buy` or `sell`.
pub(super) struct SideParam(pub(super) Side);

impl<'de> Deserialize<'de> for SideParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "buy" => Ok(Self(Side::Buy)),
            "sell" => Ok(Self(Side::Sell)),
            other => Err(D::Error::custom(format!(
                "side is {other:?}; use buy or sell"
            ))),
        }
    }
}

/// From 0 to 1, as a signal's own.
struct MinStrength(f64);

impl<'de> Deserialize<'de> for MinStrength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let strength = text.parse().ok().filter(|s: &f64| (0.0..=1.0).contains(s));
        strength.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "min_strength is {text:?}; use a number from 0 to 1"
            ))
        })
    }
}

struct CursorParam(Cursor);

impl<'de> Deserialize<'de> for CursorParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A part of the list.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "it is written from the signals' own bytes; this documents the form"
)]
pub(super) struct SignalsPage {
    /// Newest first.
    signals: Vec<Signal>,
    /// Where the list goes on, on any replica; null at its end.
    next_cursor: Option<String>,
}

/// Lists signals, newest first.
#[utoipa::path(
    get, path = "/v1/signals", tag = "signals", operation_id = "list_signals", params(ListQuery),
    responses(
        (status = 200, description = "a part of the list", body = SignalsPage),
        (status = 400, description = "a parameter is wrong or unknown", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let query = SignalsQuery {
        symbol: query.symbol.map(|symbol| symbol.0),
        strategy: query.strategy,
        side: query.side.map(|side| side.0),
        min_strength: query.min_strength.map(|strength| strength.0),
        since: query.since.map(|since| since.0),
        until: query.until.map(|until| until.0),
        after: query.cursor.map(|cursor| cursor.0),
        limit: query.limit.0,
    };
    let page = blocking(move || app.view().signals(&query)).await?;
    let mut rest = String::from(",\"next_cursor\":");
    match page.next {
        Some(cursor) => {
            write!(rest, "\"{cursor}\"").expect("writing to memory does not fail");
        }
        None => rest.push_str("null"),
    }
    Ok(json_list("signals", &page.signals, &rest))
}

/// A signal and what led to it.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "it is written from the signal's own bytes; this documents the form"
)]
pub(super) struct ExplainedSignal {
    #[schema(inline)]
    #[serde(flatten)]
    signal: Signal,
    /// What led to it; null where the log does not answer now.
    provenance: Option<Explanation>,
}

/// What led to a signal.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Explanation {
    #[serde(flatten)]
    provenance: Provenance,
    /// Where the strategy reads bars, the newest of its interval up to the signal's own, the oldest first, as far as
    /// they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    bars: Option<Vec<Box<RawValue>>>,
    /// The strategy's newest values for the symbol up to the signal, the newest first.
    #[schema(value_type = Vec<Object>)]
    values: Vec<Box<RawValue>>,
}

/// Values and bars that are shown, and looked through.
const VALUES: usize = 20;
const VALUES_LOOKED_AT: usize = 1_000;

/// Gives one signal, with what led to it: the parameters of its strategy, the ticks of its symbol up to its own, the
/// bars where it reads these, and the strategy's values then.
#[utoipa::path(
    get, path = "/v1/signals/{id}", tag = "signals", operation_id = "get_signal",
    params(("id" = String, Path, description = "strategy:partition:offset:row:n")),
    responses(
        (status = 200, description = "the signal, and what led to it", body = ExplainedSignal),
        (status = 400, description = "not a signal's id", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is none, or it is older than those that are kept", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(id): Path<String>,
    _: Query<NoParameters>,
) -> Result<Response, Problem> {
    let parsed: SignalId = id
        .parse()
        .map_err(|error| Problem::of_field(BAD_REQUEST, "id", format!("{error}")))?;
    let reading = app.clone();
    let Some(bytes) = blocking(move || reading.view().signal(&parsed)).await? else {
        return Err(Problem::new(
            NOT_FOUND,
            format!(
                "signal {id:?} is not here; there is none, or it is older than those that are kept"
            ),
        ));
    };
    let explanation = match serde_json::from_slice::<Signal>(&bytes) {
        Ok(signal) => explain(&app, signal).await?,
        Err(_) => None,
    };
    Ok(json(explained(bytes, explanation.as_ref())))
}

/// The signal's own bytes, with what led to it behind them.
fn explained(mut signal: Vec<u8>, explanation: Option<&Explanation>) -> Vec<u8> {
    if signal.pop_if(|last| *last == b'}').is_some() {
        signal.extend_from_slice(b",\"provenance\":");
        serde_json::to_writer(&mut signal, &explanation).expect("writing to memory");
        signal.push(b'}');
    }
    signal
}

async fn explain(app: &Arc<App>, signal: Signal) -> Result<Option<Explanation>, Problem> {
    let place = (signal.offset, signal.row);
    let (digest, symbol) = (&signal.params_digest, signal.symbol.clone());
    let asked = app
        .control
        .provenance(digest, symbol, signal.partition, place);
    let provenance = match asked.await {
        Ok(provenance) => provenance,
        Err(error) => {
            tracing::warn!(%error, id = signal.id, "signal not explained");
            return Ok(None);
        }
    };
    let app = app.clone();
    let looking = move || {
        let values = values_up_to(&app, &signal, place)?;
        let bars = match &signal.bar {
            Some(bar) => Some(bars_up_to(&app, &signal.symbol, bar)?),
            None => None,
        };
        Ok::<_, ViewError>((bars, values))
    };
    let (bars, values) = blocking(looking).await?;
    Ok(Some(Explanation {
        provenance,
        bars,
        values,
    }))
}

fn values_up_to(
    app: &App,
    signal: &Signal,
    place: (u64, u32),
) -> Result<Vec<Box<RawValue>>, ViewError> {
    // They are kept by time; those behind the signal are passed over here.
    let newest = app.view().values(&PointsQuery {
        symbol: signal.symbol.clone(),
        strategy: Some(signal.strategy.clone()),
        limit: VALUES_LOOKED_AT,
        ..PointsQuery::default()
    })?;
    let values = newest.into_iter().filter(|value| is_up_to(value, place));
    Ok(values.filter_map(raw).take(VALUES).collect())
}

fn bars_up_to(app: &App, symbol: &str, last: &SignalBar) -> Result<Vec<Box<RawValue>>, ViewError> {
    #[derive(Deserialize)]
    struct Start {
        open_time: f64,
    }
    let query = PointsQuery {
        symbol: symbol.to_owned(),
        limit: VALUES_LOOKED_AT,
        ..PointsQuery::default()
    };
    let newest = app.view().bars(last.interval, &query)?;
    let is_up_to = |bar: &Vec<u8>| {
        serde_json::from_slice(bar).is_ok_and(|bar: Start| bar.open_time <= last.open_time)
    };
    let bars = newest.into_iter().filter(is_up_to).filter_map(raw);
    let mut bars: Vec<_> = bars.take(VALUES).collect();
    bars.reverse();
    Ok(bars)
}

fn raw(json: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(json).ok()?).ok()
}

fn is_up_to(value: &[u8], last: (u64, u32)) -> bool {
    #[derive(Deserialize)]
    struct Place {
        offset: u64,
        row: u32,
    }
    serde_json::from_slice(value).is_ok_and(|Place { offset, row }| (offset, row) <= last)
}
