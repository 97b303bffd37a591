//! What a client's definition must be before it is written: all that is wrong with it is told at once, the plugin is
//! tried with these very parameters, and there must be room for its price.

use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{
    Control, ShadowRequest, StrategyRequest, blocking,
    info::ControlError,
    recent,
    record::{ShadowRecord, StrategyRecord},
};
use crate::{
    market::Symbol,
    plugin::{ConfigureError, ConformanceError, FieldError, Plugin, conform},
    strategy::{Input, Strategy},
};

/// The most symbols that a strategy may name.
const MAX_SYMBOLS: usize = 10_000;

/// Wrong symbols that are told, each by name.
const MAX_ERRORS: usize = 20;

/// The longest interval of values: a day.
const MAX_VALUES_INTERVAL_MS: u32 = 86_400_000;

/// A plugin and all of its parameters.
type Resolved = (Arc<Plugin>, Map<String, Value>);

impl Control {
    /// Checks a request in full, but for what depends on other strategies. The version is not given yet.
    pub(super) async fn define(
        &self,
        id: &str,
        request: StrategyRequest,
    ) -> Result<StrategyRecord, ControlError> {
        let mut errors = Vec::new();
        if !Strategy::is_id(id) {
            let message = format!(
                "id is {id:?}; use 1 to 64 characters from a-z 0-9 . _ -, the first a letter or digit"
            );
            errors.push(wrong("id", message));
        }
        let own = self.resolve("", &request.plugin, &request.params, &mut errors);
        let shadow = request
            .shadow
            .as_ref()
            .map(|ShadowRequest { plugin, params }| {
                self.resolve("shadow.", plugin, params, &mut errors)
            });
        let input = check_input(&request, &mut errors);
        let symbols = check_rest(&request, &mut errors);
        let (Some((plugin, params)), None | Some(Some(_)), true) =
            (own, &shadow, errors.is_empty())
        else {
            return Err(ControlError::refused("definition", errors));
        };
        let fuel_per_tick = self.price("", &plugin, &params).await?;
        let strategy = Strategy {
            id: id.to_owned(),
            plugin: plugin.description().name.clone(),
            plugin_digest: plugin.digest().to_string(),
            params_digest: Strategy::digest_of(&params),
            params,
            symbols,
            input,
            values_interval_ms: request.values_interval_ms,
            enabled: request.enabled,
            version: 0,
        };
        let shadow = match shadow.flatten() {
            Some(resolved) => Some(self.define_shadow(&strategy, resolved).await?),
            None => None,
        };
        Ok(StrategyRecord {
            strategy: Arc::new(strategy),
            fuel_per_tick: Some(fuel_per_tick),
            shadow,
        })
    }

    async fn define_shadow(
        &self,
        live: &Strategy,
        (plugin, params): Resolved,
    ) -> Result<ShadowRecord, ControlError> {
        let definition = Strategy {
            id: Strategy::shadow_id(&live.id),
            plugin: plugin.description().name.clone(),
            plugin_digest: plugin.digest().to_string(),
            params_digest: Strategy::digest_of(&params),
            params,
            ..live.clone()
        };
        if definition.computes_as(live) {
            let message = format!(
                "shadow is plugin {:?} with the parameters of {:?} itself; give another plugin or other parameters",
                definition.plugin, live.id
            );
            return Err(ControlError::refused(
                "definition",
                vec![wrong("shadow", message)],
            ));
        }
        let price = self.price("shadow.", &plugin, &definition.params).await?;
        Ok(ShadowRecord {
            definition: Arc::new(definition),
            fuel_per_tick: Some(price),
        })
    }

    fn resolve(
        &self,
        at: &str,
        plugin: &str,
        params: &Map<String, Value>,
        errors: &mut Vec<FieldError>,
    ) -> Option<Resolved> {
        let found = {
            let catalogue = self.shared.catalogue();
            let digest = catalogue.resolve(plugin);
            if digest.is_none() {
                let all = catalogue.newest_of_each().into_iter();
                let names = all.map(|p| p.name).collect::<Vec<_>>().join(", ");
                let cure = match names.is_empty() {
                    true => "upload it first".to_owned(),
                    false => format!("upload it first, or use one of {names}"),
                };
                let message = format!("{at}plugin is {plugin:?}, which is not here; {cure}");
                errors.push(wrong(&format!("{at}plugin"), message));
            }
            catalogue.ready(digest?)?
        };
        match found.description().resolve(params) {
            Ok(params) => Some((found, params)),
            Err(wrong) => {
                errors.extend(wrong.into_iter().map(|error| FieldError {
                    field: format!("{at}{}", error.field),
                    ..error
                }));
                None
            }
        }
    }

    /// What a tick costs with these parameters, made up or real. The plugin itself looks at them, and is tried with them,
    /// unless it was.
    async fn price(
        &self,
        at: &str,
        plugin: &Arc<Plugin>,
        params: &Map<String, Value>,
    ) -> Result<u64, ControlError> {
        let known = self.shared.catalogue().price_of(plugin.digest(), params);
        if let Some(fuel_per_tick) = known {
            return Ok(fuel_per_tick);
        }
        let name = plugin.description().name.clone();
        let (plugin, params) = (plugin.clone(), params.clone());
        let place = self.uploads.place_to_price().await;
        let log = self.log.clone();
        let tried = blocking(move || {
            // Taken until it is done, whether or not somebody still waits for that.
            let _place = place;
            conform(&plugin, &params, Some(&recent::sample(&*log)))
        });
        let tried = tried.await?;
        let field = |param: &str| format!("{at}params.{param}");
        match tried {
            Ok(found) => Ok(found.fuel_per_tick),
            Err(ConformanceError::Configure(ConfigureError::Refused(refused))) => {
                let errors = refused.into_iter().map(|(param, rule)| {
                    let message = format!("plugin {name:?}: parameter {param:?} {rule}");
                    wrong(&field(&param), message)
                });
                Err(ControlError::refused("configure", errors.collect()))
            }
            Err(ConformanceError::Configure(failed)) => {
                let message = format!("plugin {name:?}: configure {failed}");
                let error = wrong(&format!("{at}params"), message);
                Err(ControlError::refused("configure", vec![error]))
            }
            Err(error) => {
                let message = format!("plugin {name:?} with these parameters: {error}");
                let error = wrong(&format!("{at}params"), message);
                Err(ControlError::refused("conformance", vec![error]))
            }
        }
    }
}

/// What it reads, and how often it puts values out.
fn check_input(request: &StrategyRequest, errors: &mut Vec<FieldError>) -> Input {
    let input = Input::deserialize(&request.input).unwrap_or_else(|_| {
        let message = format!(
            "input is {}; use \"ticks\" or {{\"bars\": \"1m\"}}, with 1s, 1m, 5m, 1h or 1d",
            request.input
        );
        errors.push(wrong("input", message));
        Input::Ticks
    });
    let interval_ms = request.values_interval_ms;
    let (most, why) = match input {
        Input::Ticks => (MAX_VALUES_INTERVAL_MS, String::new()),
        Input::Bars(interval) => {
            let why = format!(": values are put out at each bar of {}", interval.name());
            ((interval.seconds() * 1000.0) as u32, why)
        }
    };
    if interval_ms > most {
        let message = format!("values_interval_ms is {interval_ms}; use 0 to {most}{why}");
        errors.push(wrong("values_interval_ms", message));
    }
    input
}

/// The parts of a definition that no plugin has a say in; gives the symbols, sorted.
fn check_rest(request: &StrategyRequest, errors: &mut Vec<FieldError>) -> Option<Vec<String>> {
    let mut symbols = request.symbols.clone()?;
    if !(1..=MAX_SYMBOLS).contains(&symbols.len()) {
        let given = symbols.len();
        let message =
            format!("symbols holds {given}; name 1 to {MAX_SYMBOLS}, or leave it out for all");
        errors.push(wrong("symbols", message));
    }
    let wrong_ones = symbols.iter().filter_map(|s| Symbol::parse(s).err());
    errors.extend((wrong_ones.take(MAX_ERRORS)).map(|error| wrong("symbols", error.to_string())));
    symbols.sort_unstable();
    symbols.dedup();
    Some(symbols)
}

fn wrong(field: &str, message: String) -> FieldError {
    FieldError {
        field: field.to_owned(),
        message,
    }
}
