//! A plugin: a component, checked, compiled in a child process, and run under limits. The only module that says
//! `wasmtime`. It knows nothing of logs, strategies or ticks' JSON.

mod bindings;
mod built_in;
mod check;
mod columns;
mod compile;
mod conformance;
mod description;
mod digest;
mod instance;
mod result;
mod runtime;
mod sample;
mod store;
mod wasi;

pub use bindings::{
    Batch, Columns, EconomicIndicator, Event, EventBody, EventKinds, EventSide, MarketData,
    NewsSentiment, Opinion, OrderBook, Output, ParamValue, PluginSignals,
};
pub use built_in::BUILT_IN;
pub use check::{CheckError, check};
pub use columns::TickColumns;
pub use compile::{CompileError, CompileLimits, Compiler, compile_child};
pub use conformance::{Conformance, ConformanceError, Trial, conform};
pub use description::{
    Description, DescriptionError, FieldError, ParamInfo, ParamKind, Placement, SeriesInfo,
};
pub use digest::Digest;
pub use instance::{ConfigureError, Failure, Instance, LogLevel, LogLine};
pub use result::check_output;
pub use runtime::{Limits, LoadError, Plugin, Runtime, RuntimeError};
pub use sample::Sample;
