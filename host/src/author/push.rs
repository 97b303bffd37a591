//! `wigwag plugin push` and `list`: from a component to live signals.

use std::{io::Write, time::Duration};

use anyhow::{Context, bail};
use futures_util::StreamExt as _;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{
    client::Service,
    found,
    strategies::{self, Wanted},
};
use crate::{
    config::{Definition, ServiceOptions},
    plugin,
};

/// What to push.
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) id: Option<String>,
    pub(super) definition: Definition,
    /// How many signals are waited for, and for how long.
    pub(super) signals: usize,
    pub(super) within: Duration,
}

/// How often an upload that takes longer is asked for.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Uploads it, starts a strategy, and prints its first signals.
pub(super) async fn push(
    request: &Request,
    service: &ServiceOptions,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let found = found::find(&request.subject, out)?;
    plugin::check(&found.bytes).with_context(|| format!("plugin {:?}", found.name))?;
    let service = Service::find(service)?;
    let uploaded = upload(&service, found.bytes, out)
        .await
        .with_context(|| format!("plugin {:?}", found.name))?;
    let (name, digest) = (text(&uploaded, "name"), text(&uploaded, "digest"));
    writeln!(
        out,
        "uploaded {name} {}, sha256:{digest}",
        text(&uploaded, "version")
    )?;
    if uploaded["compared"] == 0 {
        writeln!(
            out,
            "it was tried over nothing: no value and no signal came of the ticks; `wigwag plugin test` with parameters of a \
             shorter warm-up says more"
        )?;
    }
    let id = request.id.clone().unwrap_or_else(|| name.to_owned());
    let wanted = Wanted {
        id: &id,
        plugin: Some(digest.to_owned()),
        takes: Some(&uploaded["params"]),
        definition: &request.definition,
        enabled: true,
    };
    strategies::path_of(&id)?;
    // From before it starts, so that its first signal is seen.
    let stream = match request.signals {
        0 => None,
        _ => Some(open_stream(&service, &id).await?),
    };
    let strategy = strategies::define(&service, &wanted, out).await?;
    out.flush()?;
    match stream {
        Some(stream) => follow(stream, &strategy, request, out).await,
        None => Ok(()),
    }
}

/// The signals of a strategy from now on, as server-sent events.
async fn open_stream(service: &Service, id: &str) -> anyhow::Result<Response> {
    let path = format!("/v1/stream?strategy={id}&types=signal");
    service.ask(Method::GET, &path, None).await
}

/// The plugin, once the service has it.
async fn upload(service: &Service, bytes: Vec<u8>, out: &mut dyn Write) -> anyhow::Result<Value> {
    let answer = service
        .ask(Method::POST, "/v1/plugins", Some(bytes))
        .await?;
    if answer.status() != StatusCode::ACCEPTED {
        return Ok(answer.json().await?);
    }
    let location = answer.headers().get("Location");
    let location = location
        .and_then(|value| value.to_str().ok())
        .context("the service gave no address of the upload's status")?;
    let location = location.to_owned();
    writeln!(out, "the service is compiling it ...")?;
    out.flush()?;
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let mut status = service.get(&location).await?;
        match text(&status, "state") {
            "done" => return Ok(status["plugin"].take()),
            "refused" => {
                let problem = &status["problem"];
                let detail = text(problem, "detail");
                match problem["stage"].as_str() {
                    Some(stage) => bail!("refused at {stage}: {detail}"),
                    None => bail!("{detail}"),
                }
            }
            _ => {}
        }
    }
}

/// Prints signals of what the strategy is now as they are committed, until there are enough or the time is over.
async fn follow(
    stream: Response,
    strategy: &Value,
    request: &Request,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let is_of_it = |signal: &Value| {
        signal["strategy"] == strategy["id"]
            && signal["plugin_digest"] == strategy["plugin_digest"]
            && signal["params_digest"] == strategy["params_digest"]
    };
    let (mut stream, mut rest, mut seen) = (stream.bytes_stream(), Vec::new(), 0);
    let ended = tokio::time::timeout(request.within, async {
        while let Some(bytes) = stream.next().await {
            rest.extend_from_slice(&bytes?);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let Some(signal) = line
                    .strip_prefix(b"data: ".as_slice())
                    .and_then(|json| serde_json::from_slice::<Value>(json).ok())
                else {
                    continue;
                };
                if is_of_it(&signal) {
                    writeln!(
                        out,
                        "{} {} {} at {}: {} ({})",
                        signal["timestamp"],
                        text(&signal, "symbol"),
                        text(&signal, "side"),
                        signal["price"],
                        text(&signal, "reason"),
                        signal["values"]
                    )?;
                    out.flush()?;
                    seen += 1;
                }
                if seen == request.signals {
                    return anyhow::Ok(());
                }
            }
        }
        bail!("the service ended the stream")
    });
    match ended.await {
        Ok(ended) => ended,
        Err(_) => {
            let (seconds, id) = (request.within.as_secs(), text(strategy, "id"));
            writeln!(
                out,
                "{seen} signals within {seconds} s; it goes on: wigwag strategy list, wigwag strategy logs {id}"
            )?;
            Ok(())
        }
    }
}

/// Lists the plugins of the service.
pub(super) async fn list(service: &ServiceOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let all = Service::find(service)?.get("/v1/plugins").await?;
    writeln!(
        out,
        "{:<24} {:<10} {:>10}  {:<64} help",
        "name", "version", "bytes", "sha256"
    )?;
    for plugin in all["plugins"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "{:<24} {:<10} {:>10}  {:<64} {}",
            text(plugin, "name"),
            text(plugin, "version"),
            plugin["size_bytes"],
            text(plugin, "digest"),
            text(plugin, "help")
        )?;
        // What a strategy can go back to.
        for upload in plugin["versions"].as_array().into_iter().flatten().skip(1) {
            let (version, digest) = (text(upload, "version"), text(upload, "digest"));
            writeln!(out, "{:<24} {version:<10} {:>10}  {digest}", "", "")?;
        }
    }
    Ok(())
}

/// A field of an answer, as text.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
