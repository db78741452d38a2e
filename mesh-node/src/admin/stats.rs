//! What was counted of requests, added up by what somebody wants to look at.

use std::collections::BTreeMap;

use http::StatusCode;
use mesh_api::admin::{Stats, StatsGroup, StatsRow};
use mesh_runtime::http_server::{Request, Response};

use super::Admin;
use crate::telemetry::latency::BOUNDS;
use crate::telemetry::requests::{Code, RequestKey, RequestLabels, Totals, WithPort};
use crate::telemetry::series::Reading;

/// What requests are added up by.
#[derive(Debug, Clone, Copy)]
enum By {
    Services,
    Routes,
    Workloads,
}

impl Admin {
    /// `GET /stats?by=…`.
    pub(super) fn stats(&self, request: &Request) -> Response {
        let by = match request.query_value("by") {
            Some("services") | None => By::Services,
            Some("routes") => By::Routes,
            Some("workloads") => By::Workloads,
            Some(_) => {
                let text = "say by what: GET /stats?by=services, routes or workloads\n";
                return Response::text(StatusCode::BAD_REQUEST, text);
            }
        };
        let requests = &self.context.requests;
        let reading = requests.read();
        Response::json(&Stats {
            uptime_micros: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            in_flight: requests.in_flight(),
            bounds_micros: BOUNDS.to_vec(),
            overflowed: reading.overflowed,
            rows: rows(&reading, by),
        })
    }
}

fn rows(reading: &Reading<RequestKey, Totals>, by: By) -> Vec<StatsRow> {
    let mut rows: BTreeMap<StatsGroup, StatsRow> = BTreeMap::new();
    for (key, totals) in &reading.series {
        let labels = key.labels();
        for group in groups(&labels, by).into_iter().flatten() {
            let row = rows.entry(group.clone()).or_insert_with(|| StatsRow {
                group,
                latency: vec![0; BOUNDS.len() + 1],
                ..StatsRow::default()
            });
            add(row, &labels, totals);
        }
    }
    rows.into_values().collect()
}

/// Where a request belongs. One between two workloads of the mesh belongs to both, in different roles.
fn groups(labels: &RequestLabels<'_>, by: By) -> [Option<StatsGroup>; 2] {
    let path = &labels.path;
    let text = |name: Option<&dyn ToString>| name.map(ToString::to_string).unwrap_or_default();
    let service = path
        .service
        .map(|service| WithPort(service).to_string())
        .unwrap_or_default();
    let backend = path
        .backend
        .map(|backend| WithPort(backend).to_string())
        .unwrap_or_default();
    let workload = |name: Option<&mesh_model::ResourceName>, role: &str| {
        Some(StatsGroup {
            workload: name?.to_string(),
            role: role.to_owned(),
            ..StatsGroup::default()
        })
    };
    match by {
        By::Services => [
            Some(StatsGroup {
                service,
                ..StatsGroup::default()
            }),
            None,
        ],
        By::Routes => [
            Some(StatsGroup {
                service,
                route: text(path.route.map(|route| route as &dyn ToString)),
                backend,
                ..StatsGroup::default()
            }),
            None,
        ],
        By::Workloads => [
            workload(path.source, "client"),
            workload(labels.destination, "server"),
        ],
    }
}

fn add(row: &mut StatsRow, labels: &RequestLabels<'_>, totals: &Totals) {
    let count = totals.latency.count();
    row.requests += count;
    if labels.is_failure() {
        row.failures += count;
    }
    let code = match labels.code {
        Code::None => "none".to_owned(),
        code => code.to_string(),
    };
    *row.codes.entry(code).or_default() += count;
    for flag in labels.flags.iter() {
        *row.flags.entry(flag.code().to_owned()).or_default() += count;
    }
    row.request_bytes += totals.request_bytes;
    row.response_bytes += totals.response_bytes;
    for (sum, count) in row.latency.iter_mut().zip(totals.latency.buckets()) {
        *sum += count;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_model::{ResourceName, RuleName};

    use super::*;
    use crate::outcome::{Flag, Flags};
    use crate::telemetry::requests::{RequestMetrics, RequestRecord};

    #[test]
    fn requests_are_added_up_by_service_by_route_and_by_workload() {
        let name = |text: &str| text.parse::<ResourceName>().unwrap();
        let (client, service) = (name("shop/client"), name("shop/web"));
        let (v1, v2) = (name("shop/web-v1"), name("shop/web-v2"));
        let (one, two) = (name("shop/web-1"), name("shop/web-2"));
        let route = RuleName {
            route: name("shop/canary"),
            rule: "0".to_owned(),
        };
        let mut reset = Flags::default();
        reset.insert(Flag::UpstreamRemoteReset);
        let metrics = RequestMetrics::new(1, 100);
        let record = RequestRecord {
            source: Some(&client),
            service: Some((&service, 80)),
            route: Some(&route),
            backend: Some((&v1, 80)),
            destination: Some(&one),
            status: Some(200),
            duration: Duration::from_millis(1),
            response_bytes: 5,
            ..RequestRecord::from("192.0.2.1:1".parse().unwrap())
        };
        metrics.record(&record);
        metrics.record(&record);
        metrics.record(&RequestRecord {
            backend: Some((&v2, 80)),
            destination: Some(&two),
            status: Some(503),
            flags: reset,
            ..record
        });
        let reading = metrics.read();

        let services = rows(&reading, By::Services);
        assert_eq!(services.len(), 1);
        let all = &services[0];
        assert_eq!(all.group.service, "shop/web:80");
        assert_eq!((all.requests, all.failures, all.response_bytes), (3, 1, 15));
        assert_eq!(all.codes, [("200".to_owned(), 2), ("503".to_owned(), 1)].into());
        assert_eq!(all.flags, [("UR".to_owned(), 1)].into());
        assert_eq!(all.latency.iter().sum::<u64>(), 3);

        let routes = rows(&reading, By::Routes);
        let shown = |row: &StatsRow| (row.group.backend.clone(), row.requests, row.failures);
        assert_eq!(
            routes.iter().map(shown).collect::<Vec<_>>(),
            [
                ("shop/web-v1:80".to_owned(), 2, 0),
                ("shop/web-v2:80".to_owned(), 1, 1)
            ]
        );
        assert!(routes.iter().all(|row| row.group.route == "shop/canary#0"));

        let workloads = rows(&reading, By::Workloads);
        let shown = |row: &StatsRow| (row.group.workload.clone(), row.group.role.clone(), row.requests);
        assert_eq!(
            workloads.iter().map(shown).collect::<Vec<_>>(),
            [
                ("shop/client".to_owned(), "client".to_owned(), 3),
                ("shop/web-1".to_owned(), "server".to_owned(), 2),
                ("shop/web-2".to_owned(), "server".to_owned(), 1),
            ]
        );
    }
}
