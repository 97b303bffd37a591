//! `wigwag plugin check`: what the service would say of a component before it runs a tick, and what the component says of
//! itself.

use std::{io::Write, sync::Arc};

use anyhow::Context;

use super::{cure, found};
use crate::plugin::{self, Compiler, Limits, ParamKind, Plugin, Runtime};

/// Looks at it, and prints what it is.
pub(super) fn check(subject: &str, compiler: Compiler, out: &mut dyn Write) -> anyhow::Result<()> {
    let found = found::find(subject, out)?;
    let plugin = load(&found.name, &found.bytes, compiler, out)?;
    let said = plugin.description();
    writeln!(out, "{} {}: {}", said.name, said.version, said.help)?;
    writeln!(
        out,
        "  sha256:{}, {} bytes",
        plugin.digest(),
        found.bytes.len()
    )?;
    for param in &said.params {
        let rule = match (param.kind, &param.min, &param.max) {
            (ParamKind::Choice, _, _) => param.options.join(" or "),
            (ParamKind::Boolean, _, _) => "true or false".to_owned(),
            (_, Some(min), Some(max)) => format!("{min} to {max}"),
            _ => String::new(),
        };
        writeln!(
            out,
            "  parameter {}: {}, {rule}; {}",
            param.name, param.default, param.help
        )?;
    }
    for series in &said.series {
        writeln!(out, "  series {}: {}", series.name, series.help)?;
    }
    Ok(())
}

/// A component that is ready to run. What its author may not have meant is printed.
pub(super) fn load(
    name: &str,
    bytes: &[u8],
    compiler: Compiler,
    out: &mut dyn Write,
) -> anyhow::Result<Arc<Plugin>> {
    let of_plugin = || format!("plugin {name:?}");
    plugin::check(bytes).with_context(of_plugin)?;
    for warning in cure::of_imports(&imports(bytes), bytes.len()) {
        writeln!(out, "warning: {warning}")?;
    }
    let runtime = Runtime::try_new(compiler, Limits::default())?;
    runtime.load(bytes).with_context(of_plugin)
}

/// The interfaces that a valid component imports.
fn imports(bytes: &[u8]) -> Vec<String> {
    let Ok(wit_component::DecodedWasm::Component(resolve, world)) = wit_component::decode(bytes)
    else {
        return Vec::new();
    };
    let imports = resolve.worlds[world].imports.keys();
    imports.map(|key| resolve.name_world_key(key)).collect()
}
