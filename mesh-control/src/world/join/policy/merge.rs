//! Settings of several layers, the nearest first, to a policy of the model.

use std::time::Duration;

use mesh_model::{BackendPolicy, Limits, RequestPolicy, Timeouts};

use crate::world::{BackendSettings, RequestSettings};

/// What applies to requests.
pub(super) fn request<'a>(layers: impl IntoIterator<Item = &'a RequestSettings>) -> RequestPolicy {
    let mut all = RequestSettings::default();
    for layer in layers {
        let RequestSettings {
            request_timeout,
            backend_timeout,
            idle_timeout,
            retry,
            rate_limits,
            faults,
            affinity,
        } = layer;
        fill(&mut all.request_timeout, request_timeout.as_ref());
        fill(&mut all.backend_timeout, backend_timeout.as_ref());
        fill(&mut all.idle_timeout, idle_timeout.as_ref());
        fill(&mut all.retry, retry.as_ref());
        fill(&mut all.rate_limits, rate_limits.as_ref());
        fill(&mut all.faults, faults.as_ref());
        fill(&mut all.affinity, affinity.as_ref());
    }
    RequestPolicy {
        timeouts: Timeouts {
            request: unless_zero(all.request_timeout),
            backend_request: unless_zero(all.backend_timeout),
            idle: unless_zero(all.idle_timeout),
        },
        retry: all.retry.filter(|retry| retry.attempts > 0),
        rate_limits: all.rate_limits.unwrap_or_default(),
        faults: all.faults.unwrap_or_default(),
        affinity: all.affinity,
    }
}

/// What applies to endpoints.
pub(super) fn backend<'a>(layers: impl IntoIterator<Item = &'a BackendSettings>) -> BackendPolicy {
    let mut all = BackendSettings::default();
    for layer in layers {
        let BackendSettings {
            balancing,
            locality,
            slow_start,
            connect_timeout,
            max_connections,
            max_pending,
            max_requests,
            endpoint_max_connections,
            endpoint_max_requests,
            max_requests_per_connection,
            outliers,
            retry_budget,
        } = layer;
        fill(&mut all.balancing, balancing.as_ref());
        fill(&mut all.locality, locality.as_ref());
        fill(&mut all.slow_start, slow_start.as_ref());
        fill(&mut all.connect_timeout, connect_timeout.as_ref());
        fill(&mut all.max_connections, max_connections.as_ref());
        fill(&mut all.max_pending, max_pending.as_ref());
        fill(&mut all.max_requests, max_requests.as_ref());
        fill(
            &mut all.endpoint_max_connections,
            endpoint_max_connections.as_ref(),
        );
        fill(&mut all.endpoint_max_requests, endpoint_max_requests.as_ref());
        let per_connection = max_requests_per_connection.as_ref();
        fill(&mut all.max_requests_per_connection, per_connection);
        fill(&mut all.outliers, outliers.as_ref());
        fill(&mut all.retry_budget, retry_budget.as_ref());
    }
    BackendPolicy {
        balancing: all.balancing.unwrap_or_default(),
        locality: all.locality.unwrap_or_default(),
        slow_start: unless_zero(all.slow_start),
        connect_timeout: unless_zero(all.connect_timeout),
        limits: Limits {
            max_connections: all.max_connections,
            max_pending: all.max_pending,
            max_requests: all.max_requests,
            endpoint_max_connections: all.endpoint_max_connections,
            endpoint_max_requests: all.endpoint_max_requests,
            max_requests_per_connection: all.max_requests_per_connection,
        },
        outliers: all.outliers,
        retry_budget: all.retry_budget.unwrap_or_default(),
    }
}

fn fill<T: Clone>(field: &mut Option<T>, layer: Option<&T>) {
    if field.is_none() {
        *field = layer.cloned();
    }
}

fn unless_zero(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}
