//! The process's log: one subscriber, to standard error, with a filter that can change while it runs.
//!
//! Writes each event at once and keeps no buffer, so nothing is lost at an abort. Rotation and shipping belong
//! to whoever collects standard error.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// The `[log]` table of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LogConfig {
    /// Which events are written: a level, or `target=level` pairs, as tracing-subscriber's `EnvFilter` reads them.
    pub filter: String,
    /// How they are written.
    pub format: LogFormat,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for people, coloured on a terminal.
    #[default]
    Text,
    /// A JSON object a line, with the event's fields at the top level.
    Json,
}

/// Changes the filter of the running process.
#[derive(Clone)]
pub struct LogHandle {
    reload: Arc<reload::Handle<EnvFilter, Registry>>,
}

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("log filter {filter:?}: {source}; write a level such as info, or pairs such as info,h2=debug")]
    Filter {
        /// What was asked for.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a log already.
    #[error("the log is set up twice in this process: {0}")]
    Twice(#[from] TryInitError),
    /// The subscriber behind the handle is gone.
    #[error("the log filter cannot change any more: {0}")]
    Gone(#[from] reload::Error),
}

/// Makes this the log of the whole process. Call it once, before anything logs.
pub fn init(config: &LogConfig) -> Result<LogHandle, LogError> {
    let (filter, reload) = reload::Layer::new(parse(&config.filter)?);
    let output = match config.format {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(io::stderr)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(output)
        .try_init()?;
    Ok(LogHandle {
        reload: Arc::new(reload),
    })
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter).map_err(|source| LogError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::default(),
        }
    }
}

impl LogConfig {
    /// Checks the filter without setting up anything: for `--check`.
    pub fn check(&self) -> Result<(), LogError> {
        parse(&self.filter).map(drop)
    }
}

impl LogHandle {
    /// Replaces the filter; the old one stays when the new one does not parse.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        self.reload.reload(parsed)?;
        tracing::info!(filter, "log filter changed");
        Ok(())
    }

    /// The filter in force, or an empty text when the subscriber is gone.
    pub fn filter(&self) -> String {
        self.reload.with_current(ToString::to_string).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_the_filter_while_running() {
        let config = LogConfig {
            filter: "warn".to_owned(),
            format: LogFormat::Json,
        };
        let handle = init(&config).unwrap();
        assert!(!tracing::enabled!(tracing::Level::DEBUG));

        handle.set_filter("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert_eq!(handle.filter(), "debug");

        let error = handle.set_filter("=,=").unwrap_err().to_string();
        assert!(error.contains("=,="), "{error}");
        assert_eq!(handle.filter(), "debug");
        assert!(matches!(init(&config), Err(LogError::Twice(_))));
    }

    #[test]
    fn refuses_an_unknown_key() {
        assert!(toml::from_str::<LogConfig>("format = \"json\"").is_ok());
        assert!(toml::from_str::<LogConfig>("fromat = \"json\"").is_err());
    }
}
