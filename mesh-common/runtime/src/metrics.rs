//! The process's metrics: one registry, and the endpoint that Prometheus scrapes.
//!
//! Every registry has the build and the process metrics. Each part of the binary registers its own families
//! while the process starts; from [`Metrics::mount`] on the registry is fixed.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::build_info::BUILD_INFO;
use crate::http_server::{Response, Router};
use crate::process::ProcessCollector;

/// The content type of the text that [`Metrics::encode`] gives (OpenMetrics 1.0).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of a process.
#[derive(Debug)]
pub struct Metrics {
    prefix: &'static str,
    registry: Registry,
}

impl Metrics {
    /// A registry with `<prefix>_build_info` and the process's metrics.
    pub fn new(prefix: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let mut metrics = Self { prefix, registry };
        let labels = vec![
            ("version", BUILD_INFO.version),
            ("revision", BUILD_INFO.revision),
            ("rustc", BUILD_INFO.rustc),
        ];
        metrics
            .registry()
            .register("build", "What the binary was built from", Info::new(labels));
        metrics
    }

    /// Where a part registers its families; each name gets the prefix in front.
    pub fn registry(&mut self) -> &mut Registry {
        self.registry.sub_registry_with_prefix(self.prefix)
    }

    /// Everything, as OpenMetrics text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Adds `GET /metrics`.
    #[must_use]
    pub fn mount(self, router: Router) -> Router {
        let metrics = Arc::new(self);
        router.get("/metrics", move |_| std::future::ready(metrics.answer()))
    }

    fn answer(&self) -> Response {
        match self.encode() {
            Ok(text) => Response::new(StatusCode::OK, CONTENT_TYPE, text),
            Err(fmt::Error) => Response::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "a metric could not be encoded\n",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn encodes_build_process_and_own_metrics() {
        let mut metrics = Metrics::new("mesh_test");
        let opened: Counter = Counter::default();
        metrics
            .registry()
            .register("connections_opened", "Connections opened", opened.clone());
        opened.inc_by(3);

        let text = metrics.encode().unwrap();
        for line in [
            "mesh_test_connections_opened_total 3",
            "# TYPE process_resident_memory_bytes gauge",
            "# TYPE process_cpu_seconds counter",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        for start in [
            "mesh_test_build_info{version=\"",
            "process_open_fds ",
            "process_cpu_seconds_total ",
            "process_start_time_seconds ",
        ] {
            assert!(
                text.lines().any(|found| found.starts_with(start)),
                "{start} is not in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
