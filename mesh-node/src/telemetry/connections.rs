//! Metrics of connections: opened, closed, failed, and their bytes.
//!
//! A connection looks its counters up once and adds to them without a lock afterwards. Series stay for as long as a connection
//! has them; those of what is gone expire like the ones of requests.

use std::fmt;
use std::sync::Arc;

use mesh_model::ResourceName;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;

use super::encode::{counters, label};
use super::requests::{Living, OVERFLOW};
use super::series::{Query, Reading, Series, Value};

/// Labels of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectionLabels {
    /// `inbound` or `outbound`, relative to the local workload.
    pub direction: &'static str,
    /// The local workload, `namespace/name`; empty when it is not known.
    pub workload: String,
    /// The Service asked for, `namespace/name`; empty when it was none.
    pub service: String,
    /// The other workload's SPIFFE ID; empty when it has proved none.
    pub peer: String,
    /// `hbone`, `local`, `direct`, `plaintext` or `http`; empty when it did not come that far.
    pub transport: &'static str,
}

/// Labels of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FailureLabels {
    direction: &'static str,
    workload: String,
    reason: &'static str,
}

/// The counters of one connection.
#[derive(Debug, Clone)]
pub struct ConnectionCounters {
    /// Bytes from the client to the server.
    pub sent: Counter,
    /// Bytes from the server to the client.
    pub received: Counter,
    closed: Counter,
    /// Keeps the series while there is the connection.
    _held: Arc<()>,
}

/// The metrics of connections.
#[derive(Debug)]
pub struct ConnectionMetrics {
    connections: Series<ConnectionLabels, Totals>,
    failures: Series<FailureLabels, Failures>,
}

/// What is counted for connections with the same labels.
#[derive(Debug, Clone, Default)]
struct Totals {
    opened: u64,
    closed: Counter,
    sent: Counter,
    received: Counter,
    /// Shared with the connections that are open.
    held: Arc<()>,
    /// Of a sum: whether a connection has any of its parts.
    is_held: bool,
}

#[derive(Debug, Clone, Default)]
struct Failures(u64);

// === impl ConnectionMetrics ===

impl ConnectionMetrics {
    /// Nothing counted yet. `threads` is how many threads carry connections, `max_series` how many combinations of labels
    /// there may be.
    pub fn new(threads: usize, max_series: usize) -> Self {
        Self {
            connections: Series::new("connections", threads, max_series),
            failures: Series::new("failed connections", threads, max_series),
        }
    }

    /// A connection has come about. Its counters are to be kept until it is over.
    pub fn opened(&self, labels: &ConnectionLabels) -> ConnectionCounters {
        self.connections.update(labels, |totals| {
            totals.opened += 1;
            ConnectionCounters {
                sent: totals.sent.clone(),
                received: totals.received.clone(),
                closed: totals.closed.clone(),
                _held: Arc::clone(&totals.held),
            }
        })
    }

    /// A connection has not come about, or has broken.
    pub fn failed(&self, direction: &'static str, workload: String, reason: &'static str) {
        let labels = FailureLabels {
            direction,
            workload,
            reason,
        };
        self.failures.update(&labels, |failures| failures.0 += 1);
    }

    /// Removes series of what is gone and in which nothing was counted for `retention`; both in milliseconds, `now` since
    /// any moment. Returns how many.
    pub fn sweep(&self, now: u64, retention: u64, living: &impl Living) -> usize {
        let is_gone = |name: &str| {
            let name = name.parse::<ResourceName>().ok();
            name.is_some_and(|name| !living.workload(&name))
        };
        let is_service_gone = |name: &str| {
            let name = name.parse::<ResourceName>().ok();
            name.is_some_and(|name| !living.service(&name))
        };
        self.connections.sweep(now, retention, |labels| {
            is_gone(&labels.workload) || is_service_gone(&labels.service)
        }) + self
            .failures
            .sweep(now, retention, |labels| is_gone(&labels.workload))
    }
}

/// A family's name, its help, and its values.
type Family = (&'static str, &'static str, fn(&Totals) -> u64);

impl Collector for ConnectionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reading = self.connections.read();
        let families: [Family; 4] = [
            ("connections_opened", "Connections that came about", |totals| {
                totals.opened
            }),
            (
                "connections_closed",
                "Connections that came about and are over",
                |totals| totals.closed.get(),
            ),
            ("sent_bytes", "Bytes from clients to servers", |totals| {
                totals.sent.get()
            }),
            ("received_bytes", "Bytes from servers to clients", |totals| {
                totals.received.get()
            }),
        ];
        for (name, help, value) in families {
            counters(&mut encoder, name, help, samples(&reading, value))?;
        }
        counters(
            &mut encoder,
            "connections_failed",
            "Connections that did not come about, or broke",
            samples(&self.failures.read(), |failures| failures.0),
        )
    }
}

/// Labels with their values, those that had no place last.
fn samples<K, V>(
    reading: &Reading<K, V>,
    value: impl Fn(&V) -> u64,
) -> impl Iterator<Item = (OrOverflow<'_, K>, u64)> {
    let overflow = (reading.overflowed > 0).then(|| (OrOverflow(None), value(&reading.overflow)));
    reading
        .series
        .iter()
        .map(move |(key, values)| (OrOverflow(Some(&**key)), value(values)))
        .chain(overflow)
}

/// Labels, or what stands for those that had no place.
struct OrOverflow<'a, K>(Option<&'a K>);

impl EncodeLabelSet for OrOverflow<'_, ConnectionLabels> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Some(labels) = self.0 else {
            return ["workload", "service", "peer"]
                .into_iter()
                .try_for_each(|name| label(encoder, name, Some(OVERFLOW)));
        };
        label(encoder, "direction", Some(labels.direction))?;
        label(encoder, "workload", Some(&labels.workload))?;
        label(encoder, "service", Some(&labels.service))?;
        label(encoder, "peer", Some(&labels.peer))?;
        label(encoder, "transport", Some(labels.transport))
    }
}

impl EncodeLabelSet for OrOverflow<'_, FailureLabels> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Some(labels) = self.0 else {
            return label(encoder, "workload", Some(OVERFLOW));
        };
        label(encoder, "direction", Some(labels.direction))?;
        label(encoder, "workload", Some(&labels.workload))?;
        label(encoder, "reason", Some(labels.reason))
    }
}

impl Query<Self> for ConnectionLabels {
    fn is(&self, key: &Self) -> bool {
        self == key
    }

    fn to_key(&self) -> Self {
        self.clone()
    }
}

impl Query<Self> for FailureLabels {
    fn is(&self, key: &Self) -> bool {
        self == key
    }

    fn to_key(&self) -> Self {
        self.clone()
    }
}

// === impl ConnectionCounters ===

impl ConnectionCounters {
    /// The connection is over.
    pub fn close(&self) {
        self.closed.inc();
    }
}

// === impl Totals ===

impl Value for Totals {
    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.closed.inc_by(other.closed.get());
        self.sent.inc_by(other.sent.get());
        self.received.inc_by(other.received.get());
        self.is_held |= Arc::strong_count(&other.held) > 1;
    }

    fn is_busy(&self) -> bool {
        self.is_held
    }
}

impl Value for Failures {
    fn add(&mut self, other: &Self) {
        self.0 += other.0;
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::RuleName;
    use mesh_runtime::metrics::Metrics;

    use super::*;

    struct Nothing;

    impl Living for Nothing {
        fn workload(&self, _: &ResourceName) -> bool {
            false
        }

        fn service(&self, _: &ResourceName) -> bool {
            false
        }

        fn rule(&self, _: &RuleName) -> bool {
            false
        }
    }

    fn labels(workload: &str) -> ConnectionLabels {
        ConnectionLabels {
            direction: "outbound",
            workload: workload.to_owned(),
            service: "shop/web".to_owned(),
            peer: String::new(),
            transport: "local",
        }
    }

    fn text(metrics: &Arc<ConnectionMetrics>) -> String {
        let mut registry = Metrics::new("mesh_node");
        registry
            .registry()
            .register_collector(Box::new(Arc::clone(metrics)));
        registry.encode().unwrap()
    }

    #[test]
    fn a_connection_counts_from_any_thread() {
        let metrics = Arc::new(ConnectionMetrics::new(2, 10));
        let one = metrics.opened(&labels("shop/client"));
        let other = std::thread::scope(|scope| {
            let opened = scope.spawn(|| metrics.opened(&labels("shop/client")));
            opened.join().unwrap()
        });
        one.sent.inc_by(5);
        other.sent.inc_by(7);
        other.received.inc_by(1);
        other.close();
        metrics.failed("outbound", "shop/client".to_owned(), "connect");
        let text = text(&metrics);
        let of = "direction=\"outbound\",workload=\"shop/client\",service=\"shop/web\",peer=\"\",transport=\"local\"";
        for line in [
            format!("mesh_node_connections_opened_total{{{of}}} 2"),
            format!("mesh_node_connections_closed_total{{{of}}} 1"),
            format!("mesh_node_sent_bytes_total{{{of}}} 12"),
            format!("mesh_node_received_bytes_total{{{of}}} 1"),
            "mesh_node_connections_failed_total{direction=\"outbound\",workload=\"shop/client\",reason=\"connect\"} 1"
                .to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn series_stay_while_a_connection_is_open_and_go_after_it() {
        let metrics = Arc::new(ConnectionMetrics::new(2, 10));
        let open = metrics.opened(&labels("shop/gone"));
        metrics.opened(&labels("shop/gone-too")).close();
        metrics.failed("inbound", "shop/gone".to_owned(), "broken");
        metrics.sweep(1_000, 100, &Nothing);
        metrics.sweep(2_000, 100, &Nothing);
        open.sent.inc_by(3);
        let told = text(&metrics);
        assert!(
            told.contains("workload=\"shop/gone\",service=\"shop/web\",peer=\"\",transport=\"local\"} 3")
        );
        assert!(!told.contains("shop/gone-too"), "{told}");
        assert!(!told.contains("broken"), "{told}");
        drop(open);
        metrics.sweep(3_000, 100, &Nothing);
        assert!(!text(&metrics).contains("shop/gone"));
    }
}
