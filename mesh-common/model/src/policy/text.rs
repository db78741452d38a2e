//! What applies to requests, in words: only what was set.

use std::fmt;

use super::{Fault, FaultKind, RateLimit, RateLimitKey, RequestPolicy, Retry, RetryOn};

impl RequestPolicy {
    /// One item for each thing that was set: `timeout 1s`, `3 retries on 503,connect-failure`.
    pub fn words(&self) -> Vec<String> {
        let timeouts = [
            ("timeout", self.timeouts.request),
            ("backend timeout", self.timeouts.backend_request),
            ("idle timeout", self.timeouts.idle),
        ];
        timeouts
            .iter()
            .filter_map(|(name, limit)| limit.map(|limit| format!("{name} {limit:?}")))
            .chain(self.retry.iter().map(ToString::to_string))
            .chain(self.rate_limits.iter().map(ToString::to_string))
            .chain(self.faults.iter().map(ToString::to_string))
            .chain(
                self.affinity
                    .iter()
                    .map(|cookie| format!("affinity by cookie {}", cookie.name)),
            )
            .collect()
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses = self.statuses.iter().map(ToString::to_string);
        let grpc = self.grpc_statuses.iter().map(|status| format!("grpc-{status}"));
        let others = self.on.iter().map(|on| match on {
            RetryOn::ConnectFailure => "connect-failure".to_owned(),
            RetryOn::Reset => "reset".to_owned(),
            RetryOn::Timeout => "timeout".to_owned(),
        });
        let on: Vec<String> = statuses.chain(grpc).chain(others).collect();
        write!(f, "{} retries on {}", self.attempts, on.join(","))?;
        if self.non_idempotent {
            f.write_str(" of any method")?;
        }
        Ok(())
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.key {
            RateLimitKey::Service => "",
            RateLimitKey::ClientIdentity => " for each client",
        };
        write!(
            f,
            "at most {} requests in {:?}{whose}",
            self.requests, self.interval
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FaultKind::Delay(delay) => write!(f, "fault: delay {delay:?}")?,
            FaultKind::Abort(status) => write!(f, "fault: abort {status}")?,
            FaultKind::AbortGrpc(status) => write!(f, "fault: abort grpc-{status}")?,
        }
        write!(f, " for {} %", f64::from(self.per_million) / 10_000.0)?;
        if !self.matches.is_empty() {
            let matches: Vec<String> = self.matches.iter().map(ToString::to_string).collect();
            write!(f, " of {}", matches.join(" or "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{CookieAffinity, HttpMatch, Timeouts};

    #[test]
    fn says_what_was_set_and_nothing_else() {
        assert!(RequestPolicy::default().words().is_empty());
        let policy = RequestPolicy {
            timeouts: Timeouts {
                request: Some(Duration::from_millis(1500)),
                backend_request: Some(Duration::from_millis(500)),
                idle: None,
            },
            retry: Some(Retry {
                attempts: 3,
                statuses: vec![502, 503],
                grpc_statuses: vec![14],
                on: vec![RetryOn::ConnectFailure, RetryOn::Timeout],
                non_idempotent: true,
                backoff: Duration::from_millis(25),
                max_backoff: Duration::from_millis(250),
            }),
            rate_limits: vec![RateLimit {
                requests: 10,
                interval: Duration::from_secs(1),
                burst: 10,
                key: RateLimitKey::ClientIdentity,
            }],
            faults: vec![Fault {
                matches: vec![HttpMatch::any()],
                per_million: 5_000,
                kind: FaultKind::Abort(503),
            }],
            affinity: Some(CookieAffinity {
                name: "shop".to_owned(),
                max_age: None,
                path: "/".to_owned(),
            }),
        };
        assert_eq!(
            policy.words(),
            [
                "timeout 1.5s",
                "backend timeout 500ms",
                "3 retries on 502,503,grpc-14,connect-failure,timeout of any method",
                "at most 10 requests in 1s for each client",
                "fault: abort 503 for 0.5 % of /*",
                "affinity by cookie shop",
            ]
        );
    }
}
