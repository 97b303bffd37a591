//! Signals, newest first, and one by its id.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde::{Deserialize, Deserializer, de::Error};
use utoipa::IntoParams;

use super::{
    App,
    auth::{Caller, ToRead},
    blocking,
    body::{Limit, NoParameters, Query, Since, SymbolParam},
    json, json_list,
    problem::{BAD_REQUEST, NOT_FOUND, Problem},
};
use crate::{
    market::Side,
    signal::{Signal, SignalId},
    view::{Cursor, SignalsQuery},
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
    /// Only those whose `timestamp` is not before this: seconds since the epoch, or as 2026-01-31T12:00:00Z.
    #[param(value_type = Option<String>)]
    since: Option<Since>,
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
        since: query.since.map(|since| since.0),
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

/// Gives one signal.
#[utoipa::path(
    get, path = "/v1/signals/{id}", tag = "signals", operation_id = "get_signal",
    params(("id" = String, Path, description = "strategy:partition:offset:row:n")),
    responses(
        (status = 200, description = "the signal", body = Signal),
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
    match blocking(move || app.view().signal(&parsed)).await? {
        Some(signal) => Ok(json(signal)),
        None => Err(Problem::new(
            NOT_FOUND,
            format!(
                "signal {id:?} is not here; there is none, or it is older than those that are kept"
            ),
        )),
    }
}
