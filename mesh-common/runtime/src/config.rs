//! Loads a configuration file: one TOML file into nested structs, strictly.
//!
//! The structs carry `deny_unknown_fields`, so a mistyped key is an error and never a silent default. An error
//! names the file, the line and the key. Refuses to read the environment: a file says everything.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::DeserializeOwned;

/// Durations as people write them: `#[serde(with = "mesh_runtime::config::duration")]` reads "10s" or "1m 30s".
pub use humantime_serde as duration;

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {source}; check the path and the permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read, but is no TOML or does not have the expected shape.
    #[error("{}{}: {}{message}; correct it there and try again", path.display(), at_line(*line), at_key(key))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, when it is known.
        line: Option<usize>,
        /// The dotted path of the key, such as `drain.deadline`; empty when the text is no TOML.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads `path` as TOML into `T`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text)
}

/// Reads `text` as if it were the content of `path`.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let invalid = |key: String, error: &toml::de::Error| ConfigError::Invalid {
        path: path.to_owned(),
        line: error.span().map(|span| line_of(text, span.start)),
        key,
        message: error.message().trim().replace('\n', ", "),
    };
    let deserializer = toml::Deserializer::parse(text).map_err(|error| invalid(String::new(), &error))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = error.path().to_string();
        // serde_path_to_error calls the whole document ".".
        invalid(if key == "." { String::new() } else { key }, error.inner())
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(" line {line}")).unwrap_or_default()
}

fn at_key(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Config {
        node: Node,
        #[serde(default)]
        drain: Drain,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Node {
        name: String,
    }

    #[derive(Debug, Deserialize, Default)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
    struct Drain {
        #[serde(with = "duration")]
        deadline: Duration,
    }

    fn error(text: &str) -> String {
        parse::<Config>(Path::new("node.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn reads_nested_tables_and_durations() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "[node]\nname = \"a\"\n[drain]\ndeadline = \"1m 30s\"\n",
        )
        .unwrap();
        let config: Config = load(file.path()).unwrap();
        assert_eq!(config.node.name, "a");
        assert_eq!(config.drain.deadline, Duration::from_secs(90));
    }

    #[test]
    fn names_file_line_and_key_of_an_unknown_key() {
        let error = error("[node]\nname = \"a\"\n\n[drain]\ndedline = \"1s\"\n");
        assert!(
            error.starts_with("node.toml line 5: drain.dedline: unknown field `dedline`"),
            "{error}"
        );
        assert!(error.contains("`deadline`"), "{error}");
    }

    #[test]
    fn names_the_key_of_a_wrong_value() {
        let error = error("[node]\nname = \"a\"\n[drain]\ndeadline = \"soon\"\n");
        assert!(error.starts_with("node.toml line 4: drain.deadline: "), "{error}");
    }

    #[test]
    fn names_the_table_that_lacks_a_key() {
        let error = error("[node]\n");
        assert!(
            error.starts_with("node.toml line 1: node: missing field `name`"),
            "{error}"
        );
    }

    #[test]
    fn names_the_line_of_broken_syntax() {
        let error = error("[node]\nname = \n");
        assert!(error.starts_with("node.toml line 2: "), "{error}");
    }

    #[test]
    fn names_a_file_that_is_not_there() {
        let error = load::<Config>(Path::new("/nonexistent/node.toml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nonexistent/node.toml"), "{error}");
    }
}
