//! `nodemesh.v1.BackendPolicy`.

use mesh_model::{
    BackendPolicy, Balancing, HashKey, Limits, LocalityPreference, OutlierDetection, RetryBudget, SuccessRate,
};

use super::super::check::{
    at_most, duration_from_wire, duration_to_wire, header_name, not_empty, not_zero,
    optional_duration_from_wire, token,
};
use super::super::wire::balancing::Algorithm;
use super::super::wire::hash_key::Key;
use super::super::{ConvertError, value, wire};

/// Largest ring, in points (Envoy's limit).
const MAX_RING: u32 = 8 * 1024 * 1024;
/// Largest table of Maglev (Envoy's limit).
const MAX_TABLE: u32 = 5_000_011;

/// Absent when nothing is set.
pub(super) fn to_wire(policy: &BackendPolicy) -> Option<wire::BackendPolicy> {
    let locality = match policy.locality {
        LocalityPreference::None => wire::LocalityPreference::Unspecified,
        LocalityPreference::Failover => wire::LocalityPreference::Failover,
    };
    (*policy != BackendPolicy::default()).then(|| wire::BackendPolicy {
        balancing: balancing_to_wire(&policy.balancing),
        locality: locality.into(),
        slow_start: policy.slow_start.map(duration_to_wire),
        connect_timeout: policy.connect_timeout.map(duration_to_wire),
        limits: limits_to_wire(&policy.limits),
        outliers: policy.outliers.as_ref().map(outliers_to_wire),
        retry_budget: (policy.retry_budget != RetryBudget::default()).then_some(wire::RetryBudget {
            percent: policy.retry_budget.percent,
            min_per_second: policy.retry_budget.min_per_second,
        }),
    })
}

pub(super) fn from_wire(message: wire::BackendPolicy) -> Result<BackendPolicy, ConvertError> {
    let locality = match wire::LocalityPreference::try_from(message.locality) {
        Ok(wire::LocalityPreference::Unspecified) => LocalityPreference::None,
        Ok(wire::LocalityPreference::Failover) => LocalityPreference::Failover,
        Err(_) => return Err(value("locality", format!("unknown value {}", message.locality))),
    };
    let outliers = message.outliers.map(outliers_from_wire).transpose();
    Ok(BackendPolicy {
        balancing: match message.balancing {
            Some(balancing) => balancing_from_wire(balancing).map_err(|error| error.within("balancing"))?,
            None => Balancing::default(),
        },
        locality,
        slow_start: optional_duration_from_wire("slow_start", message.slow_start)?,
        connect_timeout: optional_duration_from_wire("connect_timeout", message.connect_timeout)?,
        limits: limits_from_wire(message.limits.unwrap_or_default()),
        outliers: outliers.map_err(|error| error.within("outliers"))?,
        retry_budget: match message.retry_budget {
            Some(budget) => RetryBudget {
                percent: at_most("retry_budget.percent", budget.percent, 100)?,
                min_per_second: budget.min_per_second,
            },
            None => RetryBudget::default(),
        },
    })
}

fn balancing_to_wire(balancing: &Balancing) -> Option<wire::Balancing> {
    let algorithm = match balancing {
        Balancing::LeastRequest => return None,
        Balancing::PeakEwma => Algorithm::PeakEwma(wire::PeakEwma {}),
        Balancing::RoundRobin => Algorithm::RoundRobin(wire::RoundRobin {}),
        Balancing::Random => Algorithm::Random(wire::Random {}),
        Balancing::RingHash { key, min_size } => Algorithm::RingHash(wire::RingHash {
            key: Some(key_to_wire(key)),
            min_size: *min_size,
        }),
        Balancing::Maglev { key, table_size } => Algorithm::Maglev(wire::Maglev {
            key: Some(key_to_wire(key)),
            table_size: *table_size,
        }),
    };
    Some(wire::Balancing {
        algorithm: Some(algorithm),
    })
}

fn balancing_from_wire(message: wire::Balancing) -> Result<Balancing, ConvertError> {
    let algorithm = message
        .algorithm
        .ok_or_else(|| value("algorithm", "is not known"))?;
    Ok(match algorithm {
        Algorithm::LeastRequest(_) => Balancing::LeastRequest,
        Algorithm::PeakEwma(_) => Balancing::PeakEwma,
        Algorithm::RoundRobin(_) => Balancing::RoundRobin,
        Algorithm::Random(_) => Balancing::Random,
        Algorithm::RingHash(ring) => Balancing::RingHash {
            key: key_from_wire(ring.key).map_err(|error| error.within("ring_hash"))?,
            min_size: at_most(
                "ring_hash.min_size",
                not_zero("ring_hash.min_size", ring.min_size)?,
                MAX_RING,
            )?,
        },
        Algorithm::Maglev(maglev) => {
            let table_size = at_most("maglev.table_size", maglev.table_size, MAX_TABLE)?;
            if !is_prime(table_size) {
                return Err(value("maglev.table_size", format!("{table_size} is no prime")));
            }
            Balancing::Maglev {
                key: key_from_wire(maglev.key).map_err(|error| error.within("maglev"))?,
                table_size,
            }
        }
    })
}

/// By division: the largest table has a root of 2,236.
fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..number)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn key_to_wire(key: &HashKey) -> wire::HashKey {
    wire::HashKey {
        key: Some(match key {
            HashKey::Header(name) => Key::Header(name.clone()),
            HashKey::Cookie(name) => Key::Cookie(name.clone()),
            HashKey::Query(name) => Key::Query(name.clone()),
            HashKey::SourceAddress => Key::SourceAddress(wire::SourceAddress {}),
        }),
    }
}

fn key_from_wire(message: Option<wire::HashKey>) -> Result<HashKey, ConvertError> {
    match message.and_then(|message| message.key) {
        None => Err(value("key", "is missing")),
        Some(Key::Header(name)) => Ok(HashKey::Header(header_name("key.header", name)?)),
        Some(Key::Cookie(name)) => Ok(HashKey::Cookie(token("key.cookie", name)?)),
        Some(Key::Query(name)) => Ok(HashKey::Query(not_empty("key.query", name)?)),
        Some(Key::SourceAddress(_)) => Ok(HashKey::SourceAddress),
    }
}

fn limits_to_wire(limits: &Limits) -> Option<wire::Limits> {
    (*limits != Limits::default()).then_some(wire::Limits {
        max_connections: limits.max_connections,
        max_pending: limits.max_pending,
        max_requests: limits.max_requests,
        endpoint_max_connections: limits.endpoint_max_connections,
        endpoint_max_requests: limits.endpoint_max_requests,
        max_requests_per_connection: limits.max_requests_per_connection,
    })
}

fn limits_from_wire(message: wire::Limits) -> Limits {
    Limits {
        max_connections: message.max_connections,
        max_pending: message.max_pending,
        max_requests: message.max_requests,
        endpoint_max_connections: message.endpoint_max_connections,
        endpoint_max_requests: message.endpoint_max_requests,
        max_requests_per_connection: message.max_requests_per_connection,
    }
}

fn outliers_to_wire(outliers: &OutlierDetection) -> wire::OutlierDetection {
    wire::OutlierDetection {
        consecutive_5xx: outliers.consecutive_5xx,
        consecutive_gateway: outliers.consecutive_gateway,
        success_rate: outliers.success_rate.map(|rate| wire::SuccessRate {
            min_endpoints: rate.min_endpoints,
            min_requests: rate.min_requests,
            deviations_thousandths: rate.deviations_thousandths,
        }),
        interval: Some(duration_to_wire(outliers.interval)),
        base_ejection: Some(duration_to_wire(outliers.base_ejection)),
        max_ejection: Some(duration_to_wire(outliers.max_ejection)),
        max_ejected_percent: outliers.max_ejected_percent,
    }
}

fn outliers_from_wire(message: wire::OutlierDetection) -> Result<OutlierDetection, ConvertError> {
    let base_ejection = duration_from_wire("base_ejection", message.base_ejection)?;
    let max_ejection = duration_from_wire("max_ejection", message.max_ejection)?;
    if max_ejection < base_ejection {
        return Err(value("max_ejection", "is shorter than base_ejection"));
    }
    Ok(OutlierDetection {
        consecutive_5xx: message.consecutive_5xx,
        consecutive_gateway: message.consecutive_gateway,
        success_rate: message.success_rate.map(|rate| SuccessRate {
            min_endpoints: rate.min_endpoints,
            min_requests: rate.min_requests,
            deviations_thousandths: rate.deviations_thousandths,
        }),
        interval: duration_from_wire("interval", message.interval)?,
        base_ejection,
        max_ejection,
        max_ejected_percent: at_most("max_ejected_percent", message.max_ejected_percent, 100)?,
    })
}
