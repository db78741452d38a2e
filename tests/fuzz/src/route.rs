//! Route tables and requests made of bytes: the table finds what the slow reference of its own tests finds.

#[path = "../../../mesh-common/http/tests/table/generate.rs"]
mod generate;
#[path = "../../../mesh-common/http/tests/table/reference.rs"]
mod reference;

use generate::Choices;
use mesh_http::table::{Matcher, Table};
use mesh_model::HttpMatch;
use reference::Kind;

/// The first byte says of which kind the table is; of the others it is made, and the requests to it.
pub fn check(bytes: &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let kind = if first & 1 == 0 { Kind::Http } else { Kind::Grpc };
    let mut choices = Choices::new(rest);
    let rules = generate::rules(&mut choices, kind);
    let table = match kind {
        Kind::Http => Table::http(&rules, |at, _| at),
        Kind::Grpc => Table::grpc(&rules, |at, _| at),
    };
    let table = table.unwrap();
    let all: Vec<HttpMatch> = rules.iter().flat_map(|rule| rule.matches.clone()).collect();
    let matcher = Matcher::new(&all).unwrap();
    for _ in 0..4 {
        let request = generate::request(&mut choices, kind);
        let expected = reference::find(&rules, kind, &request);
        let found = table
            .find(&request)
            .map(|matched| (*matched.payload, matched.prefix.map(str::to_owned)));
        assert_eq!(found, expected, "{request:?} with {rules:#?}");
        assert_eq!(matcher.matches(&request), expected.is_some(), "{request:?}");
    }
}
