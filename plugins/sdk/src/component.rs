//! The component's side: turns the bindings' types into the SDK's and back, and sends panics to the host's log. The only
//! file that knows the bindings.

use std::panic::PanicHookInfo;

use crate::{
    Batch, Column, Description, EconomicIndicator, Event, EventBody, EventKind, Instance, Level,
    MarketData, NewsSentiment, OrderBook, ParamKind, ParamValue, Placement, Side, Strategy, Symbol,
};
use bindings::exports::wigwag::plugin::strategy::Guest;
use bindings::wigwag::plugin::{host, types as wit};

#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        runtime_path: "wigwag_plugin::component::rt",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "wigwag_plugin::component::bindings",
    });
}

pub use bindings::export_plugin;
pub use wit_bindgen::rt;

/// Where the instance of a component is, once configured.
pub type Slot<S> = Option<Instance<S>>;

/// What `export!` makes.
pub trait Plugin {
    /// The exported strategy.
    type Strategy: Strategy;

    /// Calls with the component's only slot.
    fn with<T>(call: impl FnOnce(&mut Slot<Self::Strategy>) -> T) -> T;

    /// Calls with the instance.
    fn instance<T>(call: impl FnOnce(&mut Instance<Self::Strategy>) -> T) -> T {
        Self::with(|slot| {
            call(
                slot.as_mut()
                    .expect("the plugin is configured before any other call"),
            )
        })
    }
}

impl<P: Plugin> Guest for P {
    fn describe() -> wit::Description {
        std::panic::set_hook(Box::new(log_panic));
        Description::of::<P::Strategy>().into()
    }

    fn configure(
        params: Vec<(String, wit::ParamValue)>,
    ) -> Result<wit::Configuration, Vec<wit::ParamError>> {
        std::panic::set_hook(Box::new(log_panic));
        let params: Vec<_> = params
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let instance = Instance::configure(&params).map_err(|errors| {
            let errors = errors.into_iter();
            errors
                .map(|error| wit::ParamError {
                    name: error.name,
                    message: error.message,
                })
                .collect::<Vec<_>>()
        })?;
        let warm_up_ticks = instance.configuration().warm_up_ticks;
        P::with(|slot| *slot = Some(instance));
        Ok(wit::Configuration { warm_up_ticks })
    }

    fn define_symbols(first: u32, names: Vec<String>) {
        P::instance(|instance| instance.define_symbols(first, &names));
    }

    fn on_batch(batch: wit::Batch) -> wit::Output {
        let batch = batch.into();
        let output = P::instance(|instance| instance.on_batch(&batch));
        let opinions = output
            .signals
            .opinions
            .into_iter()
            .map(|opinion| wit::Opinion {
                side: match opinion.side {
                    Side::Buy => wit::Side::Buy,
                    Side::Sell => wit::Side::Sell,
                },
                reason: opinion.reason.into_owned(),
            });
        wit::Output {
            signals: wit::Signals {
                row: output.signals.row,
                opinion: output.signals.opinion,
                strength: output.signals.strength,
                values: output.signals.values,
                opinions: opinions.collect(),
            },
            values: output.values,
        }
    }

    fn snapshot(symbols: Vec<u32>) -> Vec<Vec<u8>> {
        P::instance(|instance| instance.snapshot(&symbols))
    }

    fn restore(states: Vec<(u32, Vec<u8>)>) -> Result<(), String> {
        P::instance(|instance| instance.restore(&states))
    }

    fn snapshot_shared() -> Vec<u8> {
        P::instance(|instance| instance.snapshot_shared())
    }

    fn restore_shared(state: Vec<u8>) -> Result<(), String> {
        P::instance(|instance| instance.restore_shared(&state))
    }
}

/// Writes to the host's log.
pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message);
}

/// A panic would else go to a standard error that nobody reads.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    match panic.location() {
        Some(at) => log(
            Level::Error,
            &format!("panicked: {message} ({}:{})", at.file(), at.line()),
        ),
        None => log(Level::Error, &format!("panicked: {message}")),
    }
}

impl From<Description> for wit::Description {
    fn from(description: Description) -> Self {
        Self {
            name: description.name.into(),
            version: description.version.into(),
            help: description.help.into(),
            params: description
                .params
                .into_iter()
                .map(|param| wit::Param {
                    name: param.name.into(),
                    help: param.help,
                    kind: param.kind.into(),
                })
                .collect(),
            columns: description
                .columns
                .iter()
                .fold(wit::Columns::empty(), |columns, column| {
                    columns
                        | match column {
                            Column::Time => wit::Columns::TIME,
                            Column::Open => wit::Columns::OPEN,
                            Column::High => wit::Columns::HIGH,
                            Column::Low => wit::Columns::LOW,
                            Column::Close => wit::Columns::CLOSE,
                            Column::Volume => wit::Columns::VOLUME,
                        }
                }),
            events: description
                .events
                .iter()
                .fold(wit::EventKinds::empty(), |kinds, kind| {
                    kinds
                        | match kind {
                            EventKind::OrderBook => wit::EventKinds::ORDER_BOOK,
                            EventKind::NewsSentiment => wit::EventKinds::NEWS_SENTIMENT,
                            EventKind::MarketData => wit::EventKinds::MARKET_DATA,
                            EventKind::EconomicIndicator => wit::EventKinds::ECONOMIC_INDICATOR,
                        }
                }),
            series: description
                .series
                .iter()
                .map(|series| wit::Series {
                    name: series.name.into(),
                    help: series.help.into(),
                    placement: match series.placement {
                        Placement::OverPrice => wit::Placement::OverPrice,
                        Placement::OwnPane => wit::Placement::OwnPane,
                    },
                })
                .collect(),
        }
    }
}

impl From<ParamKind> for wit::ParamKind {
    fn from(kind: ParamKind) -> Self {
        match kind {
            ParamKind::Integer { default, min, max } => {
                Self::Integer(wit::IntegerRange { default, min, max })
            }
            ParamKind::Number { default, min, max } => {
                Self::Number(wit::NumberRange { default, min, max })
            }
            ParamKind::Boolean { default } => Self::Boolean(default),
            ParamKind::Choice { default, options } => {
                Self::Choice(wit::Choice { default, options })
            }
        }
    }
}

impl From<wit::ParamValue> for ParamValue {
    fn from(value: wit::ParamValue) -> Self {
        match value {
            wit::ParamValue::Integer(value) => Self::Integer(value),
            wit::ParamValue::Number(value) => Self::Number(value),
            wit::ParamValue::Boolean(value) => Self::Boolean(value),
            wit::ParamValue::Text(value) => Self::Text(value),
        }
    }
}

impl From<wit::Batch> for Batch {
    fn from(batch: wit::Batch) -> Self {
        Self {
            symbol: batch.symbol,
            time: batch.time,
            open: batch.open,
            high: batch.high,
            low: batch.low,
            close: batch.close,
            volume: batch.volume,
            events: batch.events.into_iter().map(Event::from).collect(),
            wanted: batch.wanted,
        }
    }
}

impl From<wit::Event> for Event {
    fn from(event: wit::Event) -> Self {
        let body = match event.body {
            wit::EventBody::OrderBook(order) => EventBody::OrderBook(OrderBook {
                side: match order.side {
                    wit::Side::Buy => Side::Buy,
                    wit::Side::Sell => Side::Sell,
                },
                price: order.price,
                quantity: order.quantity,
            }),
            wit::EventBody::NewsSentiment(news) => EventBody::NewsSentiment(NewsSentiment {
                score: news.score,
                magnitude: news.magnitude,
            }),
            wit::EventBody::MarketData(data) => EventBody::MarketData(MarketData {
                market_cap: data.market_cap,
                pe_ratio: data.pe_ratio,
            }),
            wit::EventBody::EconomicIndicator(indicator) => {
                EventBody::EconomicIndicator(EconomicIndicator {
                    name: indicator.name,
                    value: indicator.value,
                })
            }
        };
        Self {
            row: event.row,
            symbol: event.symbol.map(Symbol),
            time: event.time,
            body,
        }
    }
}
