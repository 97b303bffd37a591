//! What is traded: the session of each symbol, its bars and its indicator values.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::{IntoParams, ToSchema};

use super::{
    App,
    auth::{Caller, ToRead},
    blocking,
    body::{Limit, NoParameters, Query, Since, Until},
    join, json, json_list,
    problem::{BAD_REQUEST, NOT_FOUND, Problem},
};
use crate::{
    bars::Interval,
    market::Symbol,
    signal::Signal,
    view::{PointsQuery, Session, SignalsQuery},
};

/// Signals in a symbol's summary.
const LATEST_SIGNALS: usize = 10;

/// All symbols.
#[derive(Serialize, ToSchema)]
pub(super) struct SymbolsList {
    /// By symbol.
    symbols: Vec<Session>,
}

/// A symbol's session, with what is newest of its indicators and signals.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it is written from bytes that are JSON already; this documents the form"
)]
pub(super) struct Summary {
    #[schema(inline)]
    #[serde(flatten)]
    session: Session,
    /// The newest of each strategy, by the strategies' ids, however long ago that was.
    indicators: Vec<Values>,
    /// The newest 10.
    signals: Vec<Signal>,
}

/// A strategy's indicator values as at one tick.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it is written by the engine; this documents the form"
)]
pub(super) struct Values {
    /// The strategy's id.
    strategy: String,
    /// What is traded.
    symbol: String,
    /// Time of the tick, seconds since the epoch.
    timestamp: f64,
    /// By name; a series without a value is left out.
    #[schema(value_type = std::collections::BTreeMap<String, f64>)]
    series: (),
    /// Where the tick stands in `ticks`.
    partition: u32,
    /// Where the tick stands in `ticks`.
    offset: u64,
    /// Which record of that message, counted from 0.
    row: u32,
}

/// A closed bar.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it is written by the engine; this documents the form"
)]
pub(super) struct BarInfo {
    /// What is traded.
    symbol: String,
    /// `1s`, `1m`, `5m`, `1h` or `1d`.
    interval: String,
    /// Start of the interval, seconds since the epoch.
    open_time: f64,
    /// Open of the first tick.
    open: f64,
    /// Highest high.
    high: f64,
    /// Lowest low.
    low: f64,
    /// Close of the last tick.
    close: f64,
    /// Sum of the ticks' volumes.
    volume: f64,
    /// Mean price, weighted by volume.
    vwap: f64,
    /// How many ticks.
    ticks: u64,
    /// Where the tick that closed it stands in `ticks`.
    partition: u32,
    /// Where the tick that closed it stands in `ticks`.
    offset: u64,
}

/// A list of bars.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it is written from bytes that are JSON already; this documents the form"
)]
pub(super) struct BarsList {
    /// Newest first.
    bars: Vec<BarInfo>,
}

/// A list of indicator values.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it is written from bytes that are JSON already; this documents the form"
)]
pub(super) struct ValuesList {
    /// Newest first.
    values: Vec<Values>,
}

/// Which bars.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BarsQuery {
    /// `1s`, `1m`, `5m`, `1h` or `1d`.
    #[serde(default)]
    #[param(value_type = Option<String>, default = "1m")]
    interval: IntervalParam,
    /// Only those whose `open_time` is not before this: seconds since the epoch, or as 2026-01-31T12:00:00Z.
    #[param(value_type = Option<String>)]
    since: Option<Since>,
    /// Only those whose `open_time` is before this: seconds since the epoch, or as 2026-01-31T12:00:00Z.
    #[param(value_type = Option<String>)]
    until: Option<Until>,
    /// At most so many: 1 to 1000.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// Which values.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ValuesQuery {
    /// Only of this strategy.
    strategy: Option<String>,
    /// `1s`, `1m`, `5m`, `1h` or `1d`: of each strategy only the newest in each such interval, as a chart of bars shows them.
    #[param(value_type = Option<String>)]
    interval: Option<IntervalParam>,
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
}

struct IntervalParam(Interval);

impl Default for IntervalParam {
    fn default() -> Self {
        Self(Interval::Minute)
    }
}

impl<'de> Deserialize<'de> for IntervalParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Lists all symbols that had a tick, with the figures of their session.
#[utoipa::path(
    get, path = "/v1/symbols", tag = "symbols", operation_id = "list_symbols",
    responses(
        (status = 200, description = "by symbol", body = SymbolsList),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    _: Query<NoParameters>,
) -> Json<SymbolsList> {
    Json(SymbolsList {
        symbols: app.view().sessions(),
    })
}

/// Gives one symbol's session, newest indicator values and newest signals.
#[utoipa::path(
    get, path = "/v1/symbols/{symbol}", tag = "symbols", operation_id = "get_symbol",
    params(("symbol" = String, Path, description = "1 to 16 characters from A-Z 0-9 . - _")),
    responses(
        (status = 200, description = "the summary", body = Summary),
        (status = 400, description = "not a symbol", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "it never had a tick", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(symbol): Path<String>,
    _: Query<NoParameters>,
) -> Result<Response, Problem> {
    check_symbol(&symbol)?;
    let Some(session) = app.view().session(&symbol) else {
        return Err(Problem::new(
            NOT_FOUND,
            format!("symbol {symbol:?} is not here; it had no tick yet"),
        ));
    };
    let (indicators, signals) = blocking(move || {
        let query = SignalsQuery {
            symbol: Some(symbol.clone()),
            limit: LATEST_SIGNALS,
            ..SignalsQuery::default()
        };
        Ok::<_, Problem>((
            app.view().latest_values(&symbol)?,
            app.view().signals(&query)?.signals,
        ))
    })
    .await?;
    let mut body = serde_json::to_vec(&session).expect("numbers and text are JSON");
    // The object goes on.
    body.pop();
    body.extend_from_slice(b",\"indicators\":[");
    join(&mut body, &indicators);
    body.extend_from_slice(b"],\"signals\":[");
    join(&mut body, &signals);
    body.extend_from_slice(b"]}");
    Ok(json(body))
}

/// Lists a symbol's closed bars, newest first.
#[utoipa::path(
    get, path = "/v1/symbols/{symbol}/bars", tag = "symbols", operation_id = "list_bars",
    params(("symbol" = String, Path, description = "1 to 16 characters from A-Z 0-9 . - _"), BarsQuery),
    responses(
        (status = 200, description = "empty where there is none", body = BarsList),
        (status = 400, description = "a parameter is wrong or unknown", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn bars(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(symbol): Path<String>,
    Query(query): Query<BarsQuery>,
) -> Result<Response, Problem> {
    check_symbol(&symbol)?;
    let interval = query.interval.0;
    let query = PointsQuery {
        symbol,
        since: query.since.map(|since| since.0),
        until: query.until.map(|until| until.0),
        limit: query.limit.0,
        ..PointsQuery::default()
    };
    let bars = blocking(move || app.view().bars(interval, &query)).await?;
    Ok(json_list("bars", &bars, ""))
}

/// Lists a symbol's indicator values, newest first.
#[utoipa::path(
    get, path = "/v1/symbols/{symbol}/values", tag = "symbols", operation_id = "list_values",
    params(("symbol" = String, Path, description = "1 to 16 characters from A-Z 0-9 . - _"), ValuesQuery),
    responses(
        (status = 200, description = "empty where there is none", body = ValuesList),
        (status = 400, description = "a parameter is wrong or unknown", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "reading is closed and no known token was sent", body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []), ("session" = []))
)]
pub(super) async fn values(
    State(app): State<Arc<App>>,
    _: Caller<ToRead>,
    Path(symbol): Path<String>,
    Query(query): Query<ValuesQuery>,
) -> Result<Response, Problem> {
    check_symbol(&symbol)?;
    let query = PointsQuery {
        symbol,
        strategy: query.strategy,
        since: query.since.map(|since| since.0),
        until: query.until.map(|until| until.0),
        every_s: query.interval.map(|interval| interval.0.seconds()),
        limit: query.limit.0,
    };
    let values = blocking(move || app.view().values(&query)).await?;
    Ok(json_list("values", &values, ""))
}

fn check_symbol(symbol: &str) -> Result<(), Problem> {
    match Symbol::parse(symbol) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::of_field(BAD_REQUEST, "symbol", error.to_string())),
    }
}
