//! Header modifiers (Gateway API v1.5, HTTPHeaderFilter).

use std::collections::HashSet;

use mesh_model::HeaderEdits;
use serde::Deserialize;

use crate::source::manifest::reader::Reader;
use crate::source::manifest::text;

/// Most headers of a list (HTTPHeaderFilter).
const MAX_HEADERS: usize = 16;
/// Longest value (HTTPHeader).
const MAX_VALUE: usize = 4096;
/// Gateway API's HTTPHeaderFilter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEdits {
    set: Option<Vec<RawHeader>>,
    add: Option<Vec<RawHeader>>,
    remove: Option<Vec<String>>,
}

/// Gateway API's HTTPHeader.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: String,
    value: String,
}

// === impl RawEdits ===

impl RawEdits {
    pub(super) fn convert(self, field: &str, reader: &mut Reader<'_>) -> HeaderEdits {
        let edits = HeaderEdits {
            set: headers(self.set, &format!("{field}.set"), reader),
            add: headers(self.add, &format!("{field}.add"), reader),
            remove: names(self.remove, &format!("{field}.remove"), reader),
        };
        let set = edits.set.iter().map(|(name, _)| name);
        let add = edits.add.iter().map(|(name, _)| name);
        let mut seen = HashSet::new();
        for name in set.chain(add).chain(&edits.remove) {
            if !seen.insert(name) {
                let message = format!("does more than one thing to the header '{name}'");
                reader.unsupported(field, message);
            }
        }
        edits
    }
}

/// Of equal names the first counts (HTTPHeader).
fn headers(raw: Option<Vec<RawHeader>>, field: &str, reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (index, header) in reader.list(raw, MAX_HEADERS, field).into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = reader.header_name(&header.name, &format!("{field}.name"));
        let is_value = (1..=MAX_VALUE).contains(&header.value.len()) && text::is_header_value(&header.value);
        let remedy = format!("write 1 to {MAX_VALUE} printable ASCII characters, spaces only between them");
        let what = "value of a header";
        reader.form(is_value, &header.value, &format!("{field}.value"), what, &remedy);
        if headers.iter().any(|(earlier, _)| *earlier == name) {
            let message = format!("'{}' is in the list already; the first entry counts", header.name);
            reader.note(field, message, "remove one of them");
            continue;
        }
        headers.push((name, header.value));
    }
    headers
}

fn names(raw: Option<Vec<String>>, field: &str, reader: &mut Reader<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (index, name) in reader.list(raw, MAX_HEADERS, field).into_iter().enumerate() {
        let name = reader.header_name(&name, &format!("{field}[{index}]"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
