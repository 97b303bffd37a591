//! Faults against real brokers and real processes: each row of the table in ARCHITECTURE.md is a test that is named after
//! it, and ends with the oracle. Long ones run with `WIGWAG_LONG_TESTS`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests may panic, and report what they measured"
)]

mod cluster;
mod damage;
mod fleet;
mod history;
#[path = "../kafka_broker/mod.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod kafka_broker;
mod load;
mod oracle;
mod proxy;
mod rows_brokers;
mod rows_clock;
mod rows_deaths;
mod rows_log;
mod rows_members;
mod rows_network;
mod rows_records;
mod rows_upgrades;
#[path = "../support/service.rs"]
mod service;
mod soak;
mod stage;
#[path = "../support/mod.rs"]
mod support;
