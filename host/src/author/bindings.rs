//! What a plugin in C needs beside a compiler: bindings from the contract, and the component around its module.

use std::path::Path;

use anyhow::{Context, anyhow};

/// Writes `plugin.h`, `plugin.c` and `plugin_component_type.o` into a folder, from the contract's text.
pub(super) fn write_for_c(wit: &str, folder: &Path) -> anyhow::Result<()> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve
        .push_source("wit/plugin.wit", wit)
        .context("wit/plugin.wit is not understood")?;
    let world = resolve
        .select_world(&[package], Some("plugin"))
        .context("wit/plugin.wit has no world `plugin`")?;
    let mut files = wit_bindgen_core::Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)?;
    for (name, bytes) in files.iter() {
        let path = folder.join(name);
        std::fs::write(&path, bytes)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// Makes a component of a core module that holds what the contract's bindings put into it.
pub(super) fn component_of(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode());
    component.map_err(|error| {
        let text = format!("{error:#}");
        // `... module requires an import interface named `wasi_snapshot_preview1``
        match text.contains("wasi_snapshot_preview1") {
            true => anyhow!(super::cure::of_wasi_calls(module)),
            false => anyhow!("no component can be made of it: {text}"),
        }
    })
}
