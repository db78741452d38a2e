//! What the file may say, and that docs/node.md tells all of it: its example is read by the real types.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

const DOCUMENT: &str = include_str!("../../../docs/node.md");
/// What every file must have.
const LEAST: &str = "[node]\nname = 'node-a'\n[control]\naddress = '192.0.2.1:15010'\n\
                     root-certificates = '/r'\ntoken-file = '/t'\n";

fn read(text: &str) -> Result<Config, String> {
    let config: Config =
        mesh_runtime::config::parse(Path::new("node.toml"), text).map_err(|e| e.to_string())?;
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

/// The blocks of the document that are TOML.
fn examples() -> impl Iterator<Item = &'static str> {
    DOCUMENT
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
}

/// The dotted keys of a TOML text, without the tables themselves.
fn keys(text: &str) -> BTreeSet<String> {
    let tables: toml::Table = text.parse().unwrap();
    let dotted = |(table, value): (&String, &toml::Value)| -> Vec<String> {
        let keys = value.as_table().unwrap().keys();
        keys.map(|key| format!("{table}.{key}")).collect()
    };
    tables.iter().flat_map(dotted).collect()
}

/// What serde expects where a key that cannot be is written: the names of all fields.
fn fields(text: &str) -> Vec<String> {
    let refusal = read(text).unwrap_err();
    let expected = refusal.split("expected").nth(1).unwrap_or_default();
    let quoted = expected.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// Every key that the types know.
fn known() -> BTreeSet<String> {
    let tables = fields(&format!("{LEAST}[nonsense]\n"));
    let mut all = BTreeSet::new();
    for table in &tables {
        let header = format!("[{table}]\n");
        let text = if LEAST.contains(&header) {
            LEAST.replace(&header, &format!("{header}nonsense = 1\n"))
        } else {
            format!("{LEAST}{header}nonsense = 1\n")
        };
        all.extend(fields(&text).iter().map(|key| format!("{table}.{key}")));
    }
    all
}

#[test]
fn every_example_of_the_document_is_a_configuration() {
    assert!(examples().count() >= 2);
    for example in examples() {
        read(example).unwrap();
    }
}

#[test]
fn the_document_names_every_key_in_its_example_and_in_its_table() {
    let known = known();
    assert!(known.len() > 30, "{known:?}");
    let shown: BTreeSet<String> = examples().flat_map(keys).collect();
    let missing: Vec<&String> = known
        .iter()
        .filter(|key| !shown.contains(*key) || !DOCUMENT.contains(&format!("| `{key}` |")))
        .collect();
    assert!(missing.is_empty(), "docs/node.md does not have {missing:?}");
}

#[test]
fn the_documents_full_example_has_the_defaults() {
    let full = examples().max_by_key(|example| example.len()).unwrap();
    let mut full = read(full).unwrap();
    // These two depend on the machine, or have no default to show.
    full.threads = ThreadConfig::default();
    full.capture.proxy_cgroup = None;
    full.http.max_body_bytes = None;
    let least = read(LEAST).unwrap();
    let but_for_what_is_required = |config: &Config| {
        let mut config = config.clone();
        config.control = least.control.clone();
        config.node.name = least.node.name.clone();
        format!("{config:#?}")
    };
    assert_eq!(but_for_what_is_required(&full), but_for_what_is_required(&least));
}

#[test]
fn refuses_values_that_nothing_could_work_with() {
    for (text, expected) in [
        (
            "[hbone]\nmax-frame = 5",
            "hbone.max-frame: 5 is not between 16384 and",
        ),
        ("[hbone]\nstream-window = 4294967295", "hbone.stream-window: "),
        ("[hbone]\nconnection-window = 0", "hbone.connection-window: "),
        ("[hbone]\nmax-streams-per-connection = 0", "hbone.max-streams-per"),
        (
            "[hbone]\nmax-connections-per-pair = 0",
            "hbone.max-connections-per",
        ),
        ("[hbone]\nping-interval = '0s'", "hbone.ping-interval: "),
        ("[outbound]\nconnect-attempts = 0", "outbound.connect-attempts: "),
        ("[outbound]\nconnect-timeout = '0s'", "outbound.connect-timeout: "),
        (
            "[threads]\nworkers = 0",
            "threads.workers: 0 is not between 1 and",
        ),
        ("[metrics]\nmax-series = 0", "metrics.max-series: "),
        ("[metrics]\nseries-retention = '0s'", "metrics.series-retention: "),
        (
            "[access-log]\nsample = 1.5",
            "access-log.sample: 1.5 is not between 0 and 1",
        ),
        ("[access-log]\nsample = nan", "access-log.sample: "),
        ("[log]\nfilter = '=,='", "log.filter: "),
    ] {
        let error = read(&format!("{LEAST}{text}\n")).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn refuses_an_address_without_a_port() {
    for (address, is_good) in [
        ("192.0.2.1:15010", true),
        ("[2001:db8::1]:15010", true),
        ("control.example:15010", true),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
        ("https://192.0.2.1:15010", false),
        ("control.example:0", false),
        ("", false),
    ] {
        let outcome = read(&LEAST.replace("192.0.2.1:15010", address));
        assert_eq!(outcome.is_ok(), is_good, "{address}: {outcome:?}");
    }
}
