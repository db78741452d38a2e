//! The metrics of requests as Prometheus sees them.
//!
//! Only the count has all labels. Latency and bytes have the few that tell who asked for what and where it went: a histogram is
//! a dozen series.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::labels::{OrOverflow, PathLabels, ResultKey, ResultLabel};
use super::{Count, RequestMetrics, Totals};
use crate::telemetry::encode::{counter, counters, gauge, histogram};
use crate::telemetry::series::{Reading, Value as _};

impl Collector for RequestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let requests = self.requests.read();
        encode_requests(&mut encoder, &requests)?;
        encode_results(
            &mut encoder,
            "request_retries",
            "Wishes to send a request again, and what became of them",
            &self.retries.read(),
        )?;
        encode_results(
            &mut encoder,
            "request_mirrors",
            "Copies of requests for mirrors, and what became of them",
            &self.mirrors.read(),
        )?;
        gauge(
            &mut encoder,
            "requests_in_flight",
            "Requests that are under way",
            i64::try_from(self.in_flight()).unwrap_or(i64::MAX),
        )?;
        gauge(
            &mut encoder,
            "request_series",
            "Combinations of labels that requests are counted by; [metrics] max-series is the limit",
            i64::try_from(requests.series.len()).unwrap_or(i64::MAX),
        )?;
        counter(
            &mut encoder,
            "request_series_overflow",
            "Requests that were counted as 'overflow', for want of room",
            requests.overflowed,
        )
    }
}

fn encode_requests(
    encoder: &mut DescriptorEncoder<'_>,
    reading: &Reading<super::RequestKey, Totals>,
) -> fmt::Result {
    let overflow = (reading.overflowed > 0).then_some(&reading.overflow);
    let counts = reading
        .series
        .iter()
        .map(|(key, totals)| (OrOverflow(Some(key.labels())), totals.latency.count()))
        .chain(overflow.map(|totals| (OrOverflow(None), totals.latency.count())));
    counters(encoder, "requests", "Requests that are over", counts)?;

    let mut paths: HashMap<PathLabels<'_>, Totals> = HashMap::new();
    for (key, totals) in &reading.series {
        paths.entry(key.labels().path).or_default().add(totals);
    }
    let paths: Vec<(OrOverflow<PathLabels<'_>>, Totals)> = paths
        .into_iter()
        .map(|(labels, totals)| (OrOverflow(Some(labels)), totals))
        .chain(overflow.map(|totals| (OrOverflow(None), totals.clone())))
        .collect();
    let of = |value: fn(&Totals) -> u64| paths.iter().map(move |(labels, totals)| (*labels, value(totals)));
    counters(
        encoder,
        "request_bytes",
        "Bytes of requests' bodies",
        of(|totals| totals.request_bytes),
    )?;
    counters(
        encoder,
        "response_bytes",
        "Bytes of answers' bodies",
        of(|totals| totals.response_bytes),
    )?;
    counters(
        encoder,
        "request_proxy_seconds",
        "Time of requests that was not spent waiting for an endpoint",
        paths.iter().map(|(labels, totals)| {
            let seconds = Duration::from_micros(totals.proxy_micros).as_secs_f64();
            (*labels, seconds)
        }),
    )?;
    let mut family = encoder.encode_descriptor(
        "request_duration_seconds",
        "From a request's head to its answer's end",
        None,
        MetricType::Histogram,
    )?;
    for (labels, totals) in &paths {
        let latency = &totals.latency;
        histogram(&mut family, labels, latency.seconds(), &latency.shown())?;
    }
    Ok(())
}

fn encode_results<R: ResultLabel>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    reading: &Reading<ResultKey<R>, Count>,
) -> fmt::Result {
    let overflow = (reading.overflowed > 0).then_some((OrOverflow(None), reading.overflow.0));
    let counts = reading
        .series
        .iter()
        .map(|(key, count)| (OrOverflow(Some(&**key)), count.0))
        .chain(overflow);
    counters(encoder, name, help, counts)
}
