//! Metrics of backends: what is under way to them and how many of their endpoints are ejected, read at every scrape, so that
//! a request pays nothing for them. A backend that nobody uses any more has no series.

use std::fmt;

use mesh_model::ResourceName;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, LabelSetEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::encode::{counters, label};
use super::requests::WithPort;

/// A backend at one moment.
#[derive(Debug)]
pub struct BackendReading {
    /// The Service.
    pub service: ResourceName,
    /// Its port.
    pub port: u16,
    /// Requests, and TCP connections, under way.
    pub requests: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Connections, in use or not.
    pub connections: u32,
    /// Endpoints that take requests.
    pub ready: usize,
    /// Endpoints that are ready, and left out for now because of how they answered.
    pub ejected: usize,
    /// Endpoints that are not ready.
    pub not_ready: usize,
    /// How often one was ejected.
    pub ejections: u64,
}

/// Reads all backends that are in use.
pub type Read = Box<dyn Fn() -> Vec<BackendReading> + Send + Sync>;

/// The metrics of backends.
pub struct BackendReadings(Read);

/// A gauge's name, its help, and its value.
type Gauge = (&'static str, &'static str, fn(&BackendReading) -> u32);

/// A backend, and the state of its endpoints that are counted.
struct Labels<'a> {
    reading: &'a BackendReading,
    state: Option<&'static str>,
}

// === impl BackendReadings ===

impl BackendReadings {
    /// As read by this.
    pub fn new(read: Read) -> Self {
        Self(read)
    }
}

impl fmt::Debug for BackendReadings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackendReadings")
    }
}

impl Collector for BackendReadings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = (self.0)();
        let gauges: [Gauge; 3] = [
            (
                "backend_requests",
                "Requests, and TCP connections, under way to a backend",
                |reading| reading.requests,
            ),
            (
                "backend_pending_requests",
                "Requests that wait for a connection to a backend",
                |reading| reading.pending,
            ),
            (
                "backend_connections",
                "Connections to a backend, in use or not",
                |reading| reading.connections,
            ),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for reading in &readings {
                let labels = Labels { reading, state: None };
                ConstGauge::new(i64::from(value(reading))).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "backend_endpoints",
            "Endpoints of a backend, by whether they take requests",
            None,
            MetricType::Gauge,
        )?;
        for reading in &readings {
            let states = [
                ("ready", reading.ready),
                ("ejected", reading.ejected),
                ("not_ready", reading.not_ready),
            ];
            for (state, count) in states {
                let labels = Labels {
                    reading,
                    state: Some(state),
                };
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        counters(
            &mut encoder,
            "backend_ejections",
            "How often an endpoint of a backend was ejected",
            readings
                .iter()
                .map(|reading| (Labels { reading, state: None }, reading.ejections)),
        )
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let backend = WithPort((&self.reading.service, self.reading.port));
        label(encoder, "backend", Some(backend))?;
        match self.state {
            Some(state) => label(encoder, "state", Some(state)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_runtime::metrics::Metrics;

    use super::*;

    #[test]
    fn tells_what_is_under_way_and_who_is_left_out() {
        let read = || {
            vec![BackendReading {
                service: "shop/web".parse().unwrap(),
                port: 80,
                requests: 3,
                pending: 2,
                connections: 4,
                ready: 5,
                ejected: 1,
                not_ready: 0,
                ejections: 9,
            }]
        };
        let mut registry = Metrics::new("mesh_node");
        registry
            .registry()
            .register_collector(Box::new(BackendReadings::new(Box::new(read))));
        let text = registry.encode().unwrap();
        for line in [
            "mesh_node_backend_requests{backend=\"shop/web:80\"} 3",
            "mesh_node_backend_pending_requests{backend=\"shop/web:80\"} 2",
            "mesh_node_backend_connections{backend=\"shop/web:80\"} 4",
            "mesh_node_backend_endpoints{backend=\"shop/web:80\",state=\"ready\"} 5",
            "mesh_node_backend_endpoints{backend=\"shop/web:80\",state=\"ejected\"} 1",
            "mesh_node_backend_endpoints{backend=\"shop/web:80\",state=\"not_ready\"} 0",
            "mesh_node_backend_ejections_total{backend=\"shop/web:80\"} 9",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
