//! `wigwag strategy`: defines, lists, removes, and tells what was logged.

use std::io::Write;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{client::Service, push::text};
use crate::{
    config::{Definition, ServiceOptions},
    strategy::{Input, Strategy},
};

/// What a strategy is to become.
pub(super) struct Wanted<'a> {
    pub(super) id: &'a str,
    /// Another plugin than it has.
    pub(super) plugin: Option<String>,
    /// What that plugin may be configured with, where it is known: what a former one had beside it is left out.
    pub(super) takes: Option<&'a Value>,
    pub(super) definition: &'a Definition,
    pub(super) enabled: bool,
}

/// Defines a strategy, or changes of it what is given.
pub(super) async fn set(
    wanted: &Wanted<'_>,
    service: &ServiceOptions,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    define(&Service::find(service)?, wanted, out)
        .await
        .map(drop)
}

/// What a definition has beside what these commands give: a change keeps it.
const KEPT: [&str; 4] = ["params", "symbols", "input", "values_interval_ms"];

/// Writes the definition, says what the strategy is now, and gives it. A change is one of the strategy as it was read: it is refused where
/// another came between.
pub(super) async fn define(
    service: &Service,
    wanted: &Wanted<'_>,
    out: &mut dyn Write,
) -> anyhow::Result<Value> {
    let Wanted {
        id,
        plugin,
        takes,
        definition,
        enabled,
    } = wanted;
    let path = path_of(id)?;
    let all = service.get("/v1/strategies").await?;
    let mut all = all["strategies"].as_array().into_iter().flatten();
    let known = all.find(|strategy| strategy["id"] == *id);
    let plugin = match (plugin, known) {
        (Some(plugin), _) => plugin.clone(),
        (None, Some(known)) => text(known, "plugin_digest").to_owned(),
        (None, None) => bail!("strategy {id:?} is not here yet; name its plugin with --plugin"),
    };
    let mut body = Map::new();
    for kept in KEPT {
        if let Some(value) = known.and_then(|known| known.get(kept)) {
            body.insert(kept.to_owned(), value.clone());
        }
    }
    let is_as_before = definition.params.is_none()
        && known.is_some_and(|known| text(known, "plugin_digest") == plugin);
    if let Some(shadow) = known.and_then(|known| known["shadow"].as_object()) {
        match is_as_before {
            true => drop(body.insert(
                "shadow".to_owned(),
                json!({"plugin": shadow["plugin_digest"], "params": shadow["params"]}),
            )),
            false => writeln!(
                out,
                "the shadow of {id} ends; where it is what {id} becomes, it takes its place"
            )?,
        }
    }
    if let (Some(takes), Some(params)) = (takes, body.get_mut("params")) {
        leave_out(takes, params, out)?;
    }
    if let Some(params) = &definition.params {
        let params: Map<String, Value> = serde_json::from_str(params)
            .with_context(|| format!("--params is {params:?}; give a JSON object"))?;
        body.insert("params".to_owned(), params.into());
    }
    if let Some(symbols) = &definition.symbols {
        body.insert("symbols".to_owned(), json!(symbols));
    }
    if let Some(input) = &definition.input {
        body.insert("input".to_owned(), serde_json::to_value(input)?);
    }
    body.insert("plugin".to_owned(), plugin.into());
    body.insert("enabled".to_owned(), (*enabled).into());
    let condition = match known {
        Some(known) => ("If-Match", text(known, "etag").to_owned()),
        None => ("If-None-Match", "*".to_owned()),
    };
    let answer = service.put(&path, body.into(), condition).await?;
    let verb = match answer.status().as_u16() {
        _ if !*enabled => "stopped",
        201 => "started",
        _ => "changed",
    };
    let strategy: Value = answer.json().await?;
    writeln!(
        out,
        "{verb} strategy {id}: {} with {}{}",
        text(&strategy, "plugin"),
        strategy["params"],
        match input_of(&strategy).as_str() {
            "ticks" => String::new(),
            bars => format!(" on {bars}"),
        }
    )?;
    Ok(strategy)
}

/// Leaves parameters out that a plugin does not take any more.
fn leave_out(takes: &Value, params: &mut Value, out: &mut dyn Write) -> anyhow::Result<()> {
    let taken = |name: &str| {
        let mut all = takes.as_array().into_iter().flatten();
        all.any(|param| param["name"] == name)
    };
    let Some(params) = params.as_object_mut() else {
        return Ok(());
    };
    for name in params.keys().filter(|name| !taken(name)) {
        writeln!(out, "parameter {name} is no more, and left out")?;
    }
    params.retain(|name, _| taken(name));
    Ok(())
}

/// What a strategy reads, as it is written on the command line.
fn input_of(strategy: &Value) -> String {
    let input = serde_json::from_value::<Input>(strategy["input"].clone());
    input.map_or_else(|_| strategy["input"].to_string(), |input| input.to_string())
}

/// Where the service has it.
pub(super) fn path_of(id: &str) -> anyhow::Result<String> {
    if !Strategy::is_id(id) {
        bail!(
            "id is {id:?}; use 1 to 64 characters from a-z 0-9 . _ -, the first a letter or digit"
        );
    }
    Ok(format!("/v1/strategies/{id}"))
}

/// Lists them, and what each is doing.
pub(super) async fn list(service: &ServiceOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let all = Service::find(service)?.get("/v1/strategies").await?;
    writeln!(
        out,
        "{:<24} {:<20} {:<8} {:<12} {:>12}  parameters",
        "id", "plugin", "input", "status", "skipped rows"
    )?;
    for strategy in all["strategies"].as_array().into_iter().flatten() {
        let partitions: Vec<&Value> = strategy["state"].as_array().into_iter().flatten().collect();
        let mut statuses: Vec<&str> = partitions
            .iter()
            .map(|state| text(state, "status"))
            .collect();
        statuses.sort_unstable();
        statuses.dedup();
        let skipped: u64 = partitions
            .iter()
            .filter_map(|state| state["skipped_rows"].as_u64())
            .sum();
        writeln!(
            out,
            "{:<24} {:<20} {:<8} {:<12} {skipped:>12}  {}",
            text(strategy, "id"),
            text(strategy, "plugin"),
            input_of(strategy),
            statuses.join("+"),
            strategy["params"]
        )?;
        let mut reasons: Vec<&str> = partitions
            .iter()
            .map(|state| text(state, "reason"))
            .collect();
        reasons.sort_unstable();
        reasons.dedup();
        for reason in reasons.into_iter().filter(|reason| !reason.is_empty()) {
            writeln!(out, "    {reason}")?;
        }
    }
    Ok(())
}

/// Removes one.
pub(super) async fn remove(
    id: &str,
    service: &ServiceOptions,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let path = path_of(id)?;
    Service::find(service)?
        .ask(Method::DELETE, &path, None)
        .await?;
    writeln!(out, "removed strategy {id}")?;
    Ok(())
}

/// Prints what its plugin logged, the oldest first.
pub(super) async fn logs(
    id: &str,
    service: &ServiceOptions,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let answer = Service::find(service)?
        .get(&format!("{}/logs", path_of(id)?))
        .await?;
    let lines: Vec<&Value> = answer["lines"].as_array().into_iter().flatten().collect();
    if lines.is_empty() {
        writeln!(out, "strategy {id} has logged nothing")?;
    }
    for line in lines.into_iter().rev() {
        if let Some(left_out @ 1..) = line["left_out"].as_u64() {
            writeln!(out, "... {left_out} lines left out")?;
        }
        writeln!(
            out,
            "{} {:<5} partition {} offset {}: {}",
            line["time"],
            text(line, "level"),
            line["partition"],
            line["offset"],
            text(line, "message")
        )?;
    }
    Ok(())
}
