//! Full TLS handshakes, by our own tool on rustls: the same client for every server.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{Load, Outcome};

/// What a client shows, and whom it trusts: files with PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The servers' signer.
    pub roots: PathBuf,
}

pub(super) fn arguments(load: &Load, credentials: &Credentials, seconds: u32) -> Vec<String> {
    let mut arguments = vec![
        "handshakes".to_owned(),
        load.target.to_string(),
        load.connections.to_string(),
        seconds.to_string(),
    ];
    let files = [&credentials.certificate, &credentials.key, &credentials.roots];
    arguments.extend(files.map(|file| file.display().to_string()));
    arguments
}

pub(super) fn read(text: &str) -> Result<Outcome> {
    let line = text.lines().find_map(|line| line.strip_prefix("@ "));
    let line = line.with_context(|| format!("the tool said {text:?}"))?;
    let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [count, microseconds, median] = numbers[..] else {
        bail!("the tool said {line:?}");
    };
    Ok(Outcome {
        count,
        rate: count / (microseconds / 1e6),
        latencies: vec![("p50", median)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_tool_says() {
        let outcome = read("@ 3000 2000000 4500\n").unwrap();
        assert_eq!(outcome.rate.to_bits(), 1500_f64.to_bits());
        assert_eq!(outcome.latencies, [("p50", 4500.0)]);
        assert!(read("@ 3000 2000000\n").is_err());
        assert!(read("").is_err());
    }
}
