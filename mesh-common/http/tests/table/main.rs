//! Random tables and requests: the table finds what the reference finds.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

mod generate;
mod reference;

use generate::Choices;
use mesh_http::table::{Matcher, Table};
use proptest::prelude::*;
use reference::Kind;

/// Compares the table with the reference for some requests; says how many found a rule.
fn compare(bytes: &[u8], kind: Kind) -> usize {
    let mut choices = Choices::new(bytes);
    let rules = generate::rules(&mut choices, kind);
    let table = match kind {
        Kind::Http => Table::http(&rules, |at, _| at),
        Kind::Grpc => Table::grpc(&rules, |at, _| at),
    };
    let table = table.unwrap();
    let all: Vec<_> = rules.iter().flat_map(|rule| rule.matches.clone()).collect();
    let matcher = Matcher::new(&all).unwrap();
    let mut found = 0;
    for _ in 0..8 {
        let request = generate::request(&mut choices, kind);
        let expected = reference::find(&rules, kind, &request);
        let matched = table
            .find(&request)
            .map(|matched| (*matched.payload, matched.prefix.map(str::to_owned)));
        assert_eq!(matched, expected, "{request:?} with {rules:#?}");
        assert_eq!(matcher.matches(&request), expected.is_some(), "{request:?}");
        found += usize::from(expected.is_some());
    }
    found
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn http_finds_what_the_reference_finds(bytes in bytes()) {
        compare(&bytes, Kind::Http);
    }

    #[test]
    fn grpc_finds_what_the_reference_finds(bytes in bytes()) {
        compare(&bytes, Kind::Grpc);
    }
}

/// A generator whose requests never match anything would show nothing.
#[test]
fn the_generated_requests_match_and_do_not() {
    for kind in [Kind::Http, Kind::Grpc] {
        let mut found = 0;
        let mut noise: u64 = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..100 {
            let bytes = std::iter::repeat_with(|| {
                // xorshift64 (Marsaglia 2003).
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise.to_le_bytes()[4]
            });
            found += compare(&bytes.take(1500).collect::<Vec<u8>>(), kind);
        }
        assert!((200..700).contains(&found), "{kind:?}: {found} of 800");
    }
}
