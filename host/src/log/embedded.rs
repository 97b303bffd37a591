//! The log on one machine: SQLite in WAL mode.
