//! A plugin's log.

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is odd.
    Warn,
    /// A person must act.
    Error,
}

/// Writes a line to the strategy's log, which is bounded in rate and size. Natively it goes to standard error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::component::log(level, message);
    #[cfg(not(target_family = "wasm"))]
    #[allow(
        clippy::print_stderr,
        reason = "natively a plugin runs in its author's tests"
    )]
    {
        eprintln!("{level:?}: {message}");
    }
}
