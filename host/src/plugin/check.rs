//! What can be seen of a component before anything is compiled: that it is one, its size and counts, what it
//! imports and exports, and which version of the contract it speaks.

use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload, Validator, WasmFeatures};

/// The largest component, in bytes: a Python runtime is about 18 MB.
pub(super) const MAX_COMPONENT_BYTES: usize = 32 << 20;

/// The most functions with a body, over all modules.
const MAX_FUNCTIONS: u32 = 50_000;

/// The largest body of one function, in bytes.
const MAX_FUNCTION_BYTES: usize = 1 << 20;

/// The most locals of one function: register allocation is superlinear in them.
const MAX_LOCALS: u32 = 10_000;

/// The deepest nesting of components and modules.
const MAX_NESTING: usize = 16;

/// What to do about each.
const FLATTER: &str = "put fewer components into each other";
const LEANER: &str = "leave out what it does not use";
const SMALLER: &str = "split its largest functions, or keep tables in data instead of code";

/// The interface that a plugin must export, without version.
const STRATEGY: &str = "wigwag:plugin/strategy";

/// Why a component is refused before it is compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Too many bytes.
    #[error(
        "is {bytes} bytes; at most {limit} are accepted; strip names and debugging sections, or leave out what it does not use"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not WebAssembly at all.
    #[error("does not start as WebAssembly does (\\0asm); upload the .wasm file itself")]
    NotWasm,
    /// A core module.
    #[error(
        "is a core module, not a component; build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Not valid WebAssembly.
    #[error(
        "is not valid WebAssembly: {0}; build it anew, without threads and relaxed SIMD, and send the whole file"
    )]
    Malformed(String),
    /// A count is above its limit.
    #[error("has {what} {count}; at most {limit} is accepted; {cure}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
        /// What to do.
        cure: &'static str,
    },
    /// Another version of the contract.
    #[error("exports \"{export}\", this host speaks 1.x; rebuild it with wigwag-plugin 1")]
    Version {
        /// The export as written.
        export: String,
    },
    /// Not a plugin.
    #[error(
        "does not export \"wigwag:plugin/strategy@1.0.0\"; build it against the world `plugin` of wit/plugin.wit"
    )]
    NoStrategy,
    /// Asks for what no plugin gets.
    #[error(
        "imports \"{import}\", which plugins do not get; allowed are wigwag:plugin/host@1, wigwag:plugin/types@1 and wasi:*@0.2"
    )]
    Import {
        /// The import as written.
        import: String,
    },
}

/// Checks a component's bytes.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(bytes: &[u8]) -> Result<(), CheckError> {
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(CheckError::TooLarge {
            bytes: bytes.len(),
            limit: MAX_COMPONENT_BYTES,
        });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(CheckError::NotWasm);
    }
    check_names(bytes)?;
    let features = WasmFeatures::default() & !WasmFeatures::RELAXED_SIMD & !WasmFeatures::THREADS;
    Validator::new_with_features(features)
        .validate_all(bytes)
        .map(|_| ())
        .map_err(|e| malformed(&e))
}

fn malformed(error: &wasmparser::BinaryReaderError) -> CheckError {
    CheckError::Malformed(super::store::clean(&error.to_string(), 300))
}

/// Reads the structure without validating it, so that the contract's version is told first and the counts are
/// known before the validator works through them.
fn check_names(bytes: &[u8]) -> Result<(), CheckError> {
    let mut depth = 0_usize;
    let mut functions = 0;
    let mut strategy: Option<String> = None;
    let mut refused_import: Option<String> = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| malformed(&e))? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => {
                return Err(CheckError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                at_most("a nesting of", depth, MAX_NESTING, FLATTER)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                functions += count;
                at_most(
                    "a number of functions of",
                    functions as usize,
                    MAX_FUNCTIONS as usize,
                    LEANER,
                )?;
            }
            Payload::CodeSectionEntry(body) => {
                at_most(
                    "a function of bytes",
                    body.as_bytes().len(),
                    MAX_FUNCTION_BYTES,
                    SMALLER,
                )?;
                let mut locals = 0_u32;
                for group in body.get_locals_reader().map_err(|e| malformed(&e))? {
                    locals = locals.saturating_add(group.map_err(|e| malformed(&e))?.0);
                }
                at_most(
                    "a function with locals",
                    locals as usize,
                    MAX_LOCALS as usize,
                    SMALLER,
                )?;
            }
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import.map_err(|e| malformed(&e))?.name.name;
                    if !allowed(name) {
                        refused_import.get_or_insert_with(|| super::store::clean(name, 200));
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let export = export.map_err(|e| malformed(&e))?;
                    let name = export.name.name;
                    if export.kind == ComponentExternalKind::Instance
                        && name.split('@').next() == Some(STRATEGY)
                    {
                        strategy = Some(name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    match strategy {
        None => Err(CheckError::NoStrategy),
        Some(export) if !is_version_1(&export) => Err(CheckError::Version { export }),
        Some(_) => refused_import.map_or(Ok(()), |import| Err(CheckError::Import { import })),
    }
}

fn at_most(
    what: &'static str,
    count: usize,
    limit: usize,
    cure: &'static str,
) -> Result<(), CheckError> {
    match count > limit {
        true => Err(CheckError::TooMany {
            what,
            count,
            limit,
            cure,
        }),
        false => Ok(()),
    }
}

fn is_version_1(name: &str) -> bool {
    let version = name
        .split_once('@')
        .and_then(|(_, v)| semver::Version::parse(v).ok());
    // A later 1.x may have what this host lacks; linking says what.
    version.is_some_and(|v| v.major == 1)
}

fn allowed(name: &str) -> bool {
    match name.split('@').next() {
        Some("wigwag:plugin/host" | "wigwag:plugin/types") => is_version_1(name),
        Some(base) => {
            base.starts_with("wasi:")
                && name
                    .split_once('@')
                    .is_some_and(|(_, v)| v.starts_with("0.2."))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(wat: &str) -> Result<(), CheckError> {
        check(&wat::parse_str(wat).unwrap())
    }

    #[test]
    fn what_is_no_component_is_told_by_kind() {
        assert_eq!(check(b"PK\x03\x04 zip"), Err(CheckError::NotWasm));
        assert_eq!(check(b""), Err(CheckError::NotWasm));
        assert_eq!(checked("(module)"), Err(CheckError::CoreModule));
        assert_eq!(checked("(component)"), Err(CheckError::NoStrategy));
        let truncated = &wat::parse_str("(component (core module (func)))").unwrap()[..14];
        assert!(matches!(check(truncated), Err(CheckError::Malformed(_))));
    }

    #[test]
    fn another_version_of_the_contract_is_told_before_anything_else() {
        let error = checked(
            r#"(component
                (import "evil:host/files@1.0.0" (instance))
                (instance $i)
                (export "wigwag:plugin/strategy@2.0.0" (instance $i)))"#,
        );
        assert_eq!(
            error,
            Err(CheckError::Version {
                export: "wigwag:plugin/strategy@2.0.0".into()
            })
        );
    }

    #[test]
    fn an_import_that_no_plugin_gets_is_named() {
        let error = checked(
            r#"(component
                (import "wasi:cli/environment@0.2.3" (instance))
                (import "evil:host/files@1.0.0" (instance))
                (instance $i)
                (export "wigwag:plugin/strategy@1.0.0" (instance $i)))"#,
        );
        assert_eq!(
            error,
            Err(CheckError::Import {
                import: "evil:host/files@1.0.0".into()
            })
        );
    }

    #[test]
    fn a_function_with_too_many_locals_is_refused_before_it_is_compiled() {
        let locals = "i32 ".repeat(MAX_LOCALS as usize + 1);
        let error = checked(&format!(
            "(component (core module (func (local {locals}))))"
        ));
        assert!(
            matches!(
                error,
                Err(CheckError::TooMany {
                    what: "a function with locals",
                    ..
                })
            ),
            "{error:?}"
        );
    }
}
