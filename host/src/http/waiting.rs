//! What is answered before the log is there: that the process lives, and to all else what it waits for.

use axum::{Router, routing::get};

use super::{
    operations,
    problem::{Problem, UNAVAILABLE},
};

/// The routes until then; `reason` says what is waited for.
pub fn waiting_router(reason: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    Router::new()
        .route("/livez", get(operations::livez))
        .fallback(async move || Problem::new(UNAVAILABLE, reason()))
}
