//! What newcomers run into, as seen in a component's imports, and what to do about it.

/// What a plugin asks of its surroundings and does not get, by the interface it is asked of, with what to do instead.
const NOT_GIVEN: [(&str, &str, &str); 4] = [
    (
        "wasi:clocks/",
        "the clock",
        "it always shows the same time in here; read the time of the tick",
    ),
    (
        "wasi:random/",
        "randomness",
        "it is always the same in here; compute from ticks and parameters alone",
    ),
    (
        "wasi:filesystem/",
        "files",
        "there are none in here; put what it needs into parameters or source",
    ),
    (
        "wasi:sockets/",
        "the network",
        "there is none in here; what it needs must come as ticks or events",
    ),
];

/// What stands in a component's imports that its author may not have meant. Not of one so large that it brings a
/// language's runtime: that imports all of it, whether it is used or not.
pub(super) fn of_imports(imports: &[String], bytes: usize) -> Vec<String> {
    const WITH_RUNTIME: usize = 4_000_000;
    if bytes > WITH_RUNTIME {
        return Vec::new();
    }
    let asks = |interface: &str| imports.iter().any(|import| import.starts_with(interface));
    NOT_GIVEN
        .iter()
        .filter(|(interface, _, _)| asks(interface))
        .map(|(interface, what, cure)| {
            format!(
                "it can ask for {what} ({}): {cure}",
                interface.trim_end_matches('/')
            )
        })
        .collect()
}

/// The functions of a C library that need a system behind them, from the imports of its module.
pub(super) fn of_wasi_calls(module: &[u8]) -> String {
    const FROM: &[u8] = b"wasi_snapshot_preview1";
    // An import is written as two texts, each behind its length.
    let mut calls = Vec::new();
    for (at, _) in (0..)
        .zip(module)
        .filter(|(at, _)| module[*at..].starts_with(FROM))
    {
        let rest = &module[at + FROM.len()..];
        let name = rest
            .split_first()
            .and_then(|(&len, rest)| rest.get(..len.into()));
        if let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) {
            calls.push(name.to_owned());
        }
    }
    let has = |call: &str| calls.iter().any(|name| name.starts_with(call));
    let cure = if has("clock_") {
        "it asks for the clock; read the time of the tick"
    } else if has("path_") || has("fd_prestat") {
        "it opens a file; put what it needs into parameters or source"
    } else if has("random_") {
        "it asks for randomness; compute from ticks and parameters alone"
    } else {
        "it prints or exits; write to the log with wigwag_log"
    };
    format!(
        "it calls {} of the system, which plugins do not get: {cure}",
        calls.join(", ")
    )
}
