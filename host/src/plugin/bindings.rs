//! What `wit/plugin.wit` is in Rust.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; documented in wit/plugin.wit"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
    ownership: Borrowing { duplicate_if_necessary: false },
});

pub use self::{
    exports::wigwag::plugin::strategy::{
        Batch, Configuration, Description as PluginDescription, Output, ParamValue,
    },
    wigwag::plugin::types::{
        Columns, EconomicIndicator, Event, EventBody, EventKinds, MarketData, NewsSentiment,
        Opinion, OrderBook, Param as PluginParam, ParamKind as PluginParamKind,
        Placement as PluginPlacement, Side as EventSide, Signals as PluginSignals,
    },
};
