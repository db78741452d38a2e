//! What the node of the demo's client tells of its requests: shares of versions, what was sent again, who is left out.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use mesh_harness::Metrics;
use serde_json::Value;

use super::demo::{BROWSER, Demo};

/// A reading of the client's node.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic {
    metrics: Metrics,
    services: Value,
}

/// Requests to a Service, or of a rule, by what they were sent to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shares(BTreeMap<String, u64>);

/// An endpoint that is left out for now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ejected {
    pub(super) workload: String,
    pub(super) seconds_left: u64,
}

// === impl Traffic ===

impl Traffic {
    pub(super) fn read(demo: &Demo) -> Result<Self> {
        let node = demo.world.node_of(BROWSER)?;
        Ok(Self {
            metrics: node.metrics()?,
            services: node.admin("/services")?,
        })
    }

    /// How the requests to a Service were shared out since an earlier reading.
    pub(super) fn shares(&self, since: &Self, service: &str, rule: Option<&str>) -> Shares {
        let mut shares = BTreeMap::new();
        for (reading, sign) in [(self, 1.0), (since, -1.0)] {
            for sample in reading.requests(service, rule) {
                let backend = sample.labels.get("backend").map_or("", String::as_str);
                // Without the port: every Service of the demo has one.
                let backend = backend.split(':').next().unwrap_or_default();
                *shares.entry(backend.to_owned()).or_insert(0.0) += sign * sample.value;
            }
        }
        shares.retain(|_, count| *count > 0.0);
        Shares(
            shares
                .into_iter()
                .map(|(name, count)| (name, whole(count)))
                .collect(),
        )
    }

    /// Requests to a Service that are over, and how many of them were answered with a 5xx or not at all.
    pub(super) fn requests_and_failures(&self, service: &str) -> (u64, u64) {
        let (mut all, mut failed) = (0.0, 0.0);
        for sample in self.requests(service, None) {
            all += sample.value;
            let code = sample.labels.get("response_code").map_or("", String::as_str);
            if code.is_empty() || code.starts_with('5') {
                failed += sample.value;
            }
        }
        (whole(all), whole(failed))
    }

    /// How many requests to a Service were sent again, once for each time.
    pub(super) fn retried(&self, service: &str) -> u64 {
        let backend = format!("{service}:80");
        let labels = [("backend", backend.as_str()), ("result", "retried")];
        whole(self.metrics.sum("mesh_node_request_retries_total", &labels))
    }

    /// The endpoints of a Service that are left out.
    pub(super) fn ejected(&self, service: &str) -> Vec<Ejected> {
        let services = self.services.as_array().map_or(&[][..], Vec::as_slice);
        let endpoints = services
            .iter()
            .filter(|one| one["name"] == service)
            .flat_map(|one| one["endpoints"].as_array().map_or(&[][..], Vec::as_slice));
        let mut ejected: Vec<Ejected> = Vec::new();
        for endpoint in endpoints {
            let workload = endpoint["workload"].as_str().unwrap_or("?");
            let ejections = endpoint["ejected"].as_array().map_or(&[][..], Vec::as_slice);
            // A workload has an endpoint for each of its addresses.
            if let Some(ejection) = ejections.first()
                && ejected.iter().all(|known| known.workload != workload)
            {
                ejected.push(Ejected {
                    workload: workload.to_owned(),
                    seconds_left: ejection["seconds_left"].as_u64().unwrap_or_default(),
                });
            }
        }
        ejected
    }

    fn requests(
        &self,
        service: &str,
        rule: Option<&str>,
    ) -> impl Iterator<Item = &mesh_harness::metrics::Sample> {
        let service = format!("{service}:80");
        let mut labels = vec![("source_workload", BROWSER), ("service", service.as_str())];
        labels.extend(rule.map(|rule| ("route", rule)));
        let samples: Vec<_> = self
            .metrics
            .matching("mesh_node_requests_total", &labels)
            .collect();
        samples.into_iter()
    }
}

// === impl Shares ===

impl Shares {
    /// All requests.
    pub(super) fn sum(&self) -> u64 {
        self.0.values().sum()
    }

    /// A backend's share, in tenths of a percent.
    pub(super) fn per_mille(&self, backend: &str) -> u64 {
        let count = self.0.get(backend).copied().unwrap_or_default();
        (count * 1000).checked_div(self.sum()).unwrap_or_default()
    }

    /// Fails unless every request went to this backend, and there was one.
    pub(super) fn is_only(&self, backend: &str) -> Result<()> {
        let is_so = self.sum() > 0 && self.0.keys().all(|name| name == backend);
        is_so
            .then_some(())
            .with_context(|| format!("requests went to {self}, not to {backend} alone"))
    }
}

impl std::fmt::Display for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing yet");
        }
        for (place, (backend, count)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            let share = self.per_mille(backend);
            write!(f, "{comma}{backend} {}.{} % ({count})", share / 10, share % 10)?;
        }
        Ok(())
    }
}

/// A counter's value. Below 2^53 the conversion is exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole and not negative"
)]
pub(super) fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(v1: u64, v2: u64) -> Traffic {
        let sample = |backend: &str, code: &str, value: u64| {
            format!(
                "mesh_node_requests_total{{source_workload=\"shop/frontend\",service=\"shop/web:80\",\
                 route=\"shop/canary#split\",backend=\"{backend}:80\",response_code=\"{code}\"}} {value}\n"
            )
        };
        let text = sample("shop/web-v1", "200", v1) + &sample("shop/web-v2", "503", v2);
        Traffic {
            metrics: Metrics::parse(&text),
            services: json!([{ "name": "shop/prices", "endpoints": [
                { "workload": "shop/prices-1", "ejected": [] },
                { "workload": "shop/prices-3", "ejected": [{ "port": 80, "seconds_left": 7 }] },
                { "workload": "shop/prices-3", "ejected": [{ "port": 80, "seconds_left": 6 }] },
            ] }]),
        }
    }

    #[test]
    fn shares_are_of_the_time_between_two_readings() {
        let shares = reading(190, 20).shares(&reading(100, 10), "shop/web", None);
        assert_eq!(
            shares.to_string(),
            "shop/web-v1 90.0 % (90), shop/web-v2 10.0 % (10)"
        );
        assert!(shares.is_only("shop/web-v1").is_err());
        let none = reading(1, 1).shares(&reading(1, 1), "shop/web", Some("shop/canary#split"));
        assert_eq!(none.to_string(), "nothing yet");
        assert!(none.is_only("shop/web-v1").is_err());
    }

    #[test]
    fn tells_failures_and_who_is_left_out() {
        let reading = reading(97, 3);
        assert_eq!(reading.requests_and_failures("shop/web"), (100, 3));
        let out = reading.ejected("shop/prices");
        assert_eq!(
            out,
            [Ejected {
                workload: "shop/prices-3".to_owned(),
                seconds_left: 7
            }]
        );
    }
}
