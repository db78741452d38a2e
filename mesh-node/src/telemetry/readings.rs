//! Counters that somebody else counts (the kernel), read at every scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Reads the counters: names and values.
pub type Read = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// A group of such counters; each becomes `<prefix>_<name>_total`.
pub struct Readings {
    prefix: &'static str,
    help: &'static str,
    read: Read,
}

// === impl Readings ===

impl Readings {
    /// A group whose names begin with `prefix`.
    pub fn new(prefix: &'static str, help: &'static str, read: Read) -> Self {
        Self { prefix, help, read }
    }
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readings({})", self.prefix)
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, value) in (self.read)() {
            let name = format!("{}_{name}", self.prefix);
            let metric = encoder.encode_descriptor(&name, self.help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}
