//! Numbers for operators, as Prometheus reads them. Each module names and counts its own; this file says how they are
//! collected.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of all histograms, in seconds: from a request that waits for nothing to one that times out, each about twice the
/// one before.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25,
    0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Starts to collect, once for the process; later calls give the same handle.
///
/// # Panics
/// Where the process collects metrics in another way already.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .expect("nothing else in this process collects metrics");
        crate::engine::describe_metrics();
        crate::ingest::describe_metrics();
        crate::http::describe_metrics();
        crate::view::describe_metrics();
        crate::notify::describe_metrics();
        handle
    };
    HANDLE.get_or_init(install).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_buckets() {
        let handle = install();
        metrics::histogram!("wigwag_test_seconds").record(0.012);
        let text = handle.render();
        assert!(
            text.contains("wigwag_test_seconds_bucket{le=\"0.015\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("wigwag_test_seconds_bucket{le=\"0.01\"} 0"),
            "{text}"
        );
    }
}
