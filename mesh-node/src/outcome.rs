//! How a request ended, in the two-letter codes that Envoy's users know (Envoy, access log, `%RESPONSE_FLAGS%`).
//!
//! One closed list, which metrics, logs and the `x-mesh-error` header name.

/// What the proxy did to a request, or saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Flag {
    /// No healthy endpoint; 503.
    NoHealthyUpstream,
    /// No connection to an endpoint came about; 503.
    UpstreamConnectionFailure,
    /// A limit of circuit breaking was reached; 503.
    UpstreamOverflow,
    /// No rule of the routes matches; 404.
    NoRoute,
    /// The rule's backend does not resolve; 500.
    NoBackend,
    /// All retries were used up.
    RetryLimitExceeded,
    /// The client went away.
    DownstreamConnectionTermination,
    /// A request or attempt took too long; 504.
    UpstreamRequestTimeout,
    /// The endpoint reset the request; 503.
    UpstreamRemoteReset,
    /// The endpoint closed the connection under the request; 503.
    UpstreamConnectionTermination,
    /// The endpoint broke the protocol; 502.
    UpstreamProtocolError,
    /// The client broke the protocol; 400, 431, 501.
    DownstreamProtocolError,
    /// A delay was injected.
    DelayInjected,
    /// An answer was injected.
    FaultInjected,
    /// A rate limit was reached; 429.
    RateLimited,
    /// Nothing moved for too long; 408 or 504.
    StreamIdleTimeout,
    /// The proxy has reached a limit of its own; 503.
    Overload,
    /// This node closed it: the workload was released, or the node stops; 503.
    LocalReset,
}

/// The flags of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

// === impl Flag ===

impl Flag {
    /// Every flag, in the order in which they are shown.
    pub const ALL: [Flag; 18] = [
        Self::NoHealthyUpstream,
        Self::UpstreamConnectionFailure,
        Self::UpstreamOverflow,
        Self::NoRoute,
        Self::NoBackend,
        Self::RetryLimitExceeded,
        Self::DownstreamConnectionTermination,
        Self::UpstreamRequestTimeout,
        Self::UpstreamRemoteReset,
        Self::UpstreamConnectionTermination,
        Self::UpstreamProtocolError,
        Self::DownstreamProtocolError,
        Self::DelayInjected,
        Self::FaultInjected,
        Self::RateLimited,
        Self::StreamIdleTimeout,
        Self::Overload,
        Self::LocalReset,
    ];

    /// Envoy's code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamOverflow => "UO",
            Self::NoRoute => "NR",
            Self::NoBackend => "NC",
            Self::RetryLimitExceeded => "URX",
            Self::DownstreamConnectionTermination => "DC",
            Self::UpstreamRequestTimeout => "UT",
            Self::UpstreamRemoteReset => "UR",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamProtocolError => "UPE",
            Self::DownstreamProtocolError => "DPE",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::RateLimited => "RL",
            Self::StreamIdleTimeout => "SI",
            Self::Overload => "OM",
            Self::LocalReset => "LR",
        }
    }
}

// === impl Flags ===

impl Flags {
    /// With one more.
    pub fn insert(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether it is among them.
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |flag| self.contains(*flag))
    }
}

impl std::fmt::Display for Flags {
    /// Codes with commas between them, or a dash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, flag) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", flag.code())?;
        }
        Ok(())
    }
}
