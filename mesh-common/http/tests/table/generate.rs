//! Tables and requests made of bytes: the same bytes make the same ones, so property tests and fuzzers can both
//! look for bytes that show a fault. Names and values are few, so that much matches.

#![expect(clippy::unwrap_used, reason = "in a test, a failure's place is what matters")]

use http::request::Parts;
use http::{HeaderValue, Request};
use mesh_model::{
    HttpMatch, HttpRule, PathMatch, RequestPolicy, ResourceName, RuleName, TextMatch, ValueMatch,
};

use super::reference::Kind;

const SEGMENTS: [&str; 7] = ["a", "b", "ab", "v1", "v2", "A", "a%2Fb"];
const PATH_REGEXES: [&str; 12] = [
    "/.*",
    "/a/.*",
    "/a/b.*",
    "/(a|ab)/[a-z]+",
    "/v[0-9]+(/.*)?",
    "^/a/v[0-9]$",
    ".*b",
    "(?i)/a/.*",
    "/a|/b|/a/b",
    "",
    "[^a]*",
    "/a/{0,2}",
];
const NAMES: [&str; 4] = ["x-a", "x-b", "X-A", "x-c"];
const PARAMETERS: [&str; 5] = ["p", "q", "P", "a b", "ü"];
const VALUES: [&str; 7] = ["1", "2", "12", "1,2", "a b", "", "ü"];
const VALUE_REGEXES: [&str; 6] = ["1", "[0-9]+", "1,.*", "1|12", ".*", "a.b"];
const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "X-OWN"];
const SERVICES: [&str; 4] = ["shop", "pkg.Shop", "a", "b"];
const CALLS: [&str; 4] = ["Get", "List", "a", "b"];
const CALL_REGEXES: [&str; 5] = ["Get|List", ".*", "[a-z]+", "pkg\\..*", "a"];
const ESCAPES: [&str; 9] = ["p", "%70", "1", "%31%32", "a+b", "a%20b", "%C3%BC", "%zz", "%ff"];

/// Bytes, as choices.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Where the bytes end, every choice is the first.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A number below `bound`, which is at most 256.
    fn below(&mut self, bound: usize) -> usize {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*byte) % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == bound - 1
    }

    fn list<T>(&mut self, bound: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(bound)).map(|_| make(self)).collect()
    }
}

/// Rules of a kind. Some tables are crowded: so much hangs at one path that it is found by its headers.
pub(crate) fn rules(choices: &mut Choices<'_>, kind: Kind) -> Vec<HttpRule> {
    let is_crowded = choices.one_in(4);
    let route: ResourceName = "shop/web".parse().unwrap();
    choices.list(if is_crowded { 40 } else { 10 }, |choices| {
        let name = RuleName {
            route: route.clone(),
            rule: "0".to_owned(),
        };
        HttpRule {
            name: name.into(),
            matches: choices.list(4, |choices| one_match(choices, kind, is_crowded)),
            filters: Vec::new(),
            backends: Vec::new(),
            policy: RequestPolicy::default(),
        }
    })
}

fn one_match(choices: &mut Choices<'_>, kind: Kind, is_crowded: bool) -> HttpMatch {
    let path = match kind {
        Kind::Grpc => PathMatch::Grpc {
            service: choices.one_in(2).then(|| text(choices, &SERVICES, &CALL_REGEXES)),
            method: choices.one_in(2).then(|| text(choices, &CALLS, &CALL_REGEXES)),
        },
        Kind::Http if is_crowded => PathMatch::Prefix(choices.of(&["/", "/a"]).to_owned()),
        Kind::Http => match choices.below(6) {
            0 | 1 => PathMatch::Exact(path(choices)),
            2 => PathMatch::Regex(choices.of(&PATH_REGEXES).to_owned()),
            _ => PathMatch::Prefix(prefix(choices)),
        },
    };
    let mut values = |names: &[&str], bound: usize| {
        let few = choices.one_in(bound);
        choices.list(if few { 3 } else { 1 }, |choices| ValueMatch {
            name: choices.of(names).to_owned(),
            value: text(choices, &VALUES, &VALUE_REGEXES),
        })
    };
    let headers = values(&NAMES, 2);
    let query = values(&PARAMETERS, 4);
    HttpMatch {
        path,
        method: choices.one_in(4).then(|| choices.of(&METHODS).to_owned()),
        headers,
        query,
    }
}

fn text(choices: &mut Choices<'_>, exact: &[&str], regexes: &[&str]) -> TextMatch {
    if choices.one_in(6) {
        TextMatch::Regex(choices.of(regexes).to_owned())
    } else {
        TextMatch::Exact(choices.of(exact).to_owned())
    }
}

fn prefix(choices: &mut Choices<'_>) -> String {
    let segments = choices.list(4, |choices| choices.of(&SEGMENTS));
    let end = if segments.is_empty() || choices.one_in(3) {
        "/"
    } else {
        ""
    };
    let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
    path + end
}

/// A path in normal form, empty segments included.
fn path(choices: &mut Choices<'_>) -> String {
    let segments = choices.list(5, |choices| {
        if choices.one_in(8) {
            ""
        } else {
            choices.of(&SEGMENTS)
        }
    });
    format!("/{}", segments.join("/"))
}

/// A request to a table of a kind.
pub(crate) fn request(choices: &mut Choices<'_>, kind: Kind) -> Parts {
    let mut target = match kind {
        Kind::Grpc if !choices.one_in(8) => format!("/{}/{}", choices.of(&SERVICES), choices.of(&CALLS)),
        _ => path(choices),
    };
    let query = choices.list(4, |choices| {
        let name = if choices.one_in(2) {
            choices.of(&ESCAPES)
        } else {
            choices.of(&["p", "q", "P"])
        };
        match choices.below(4) {
            0 => name.to_owned(),
            _ => format!("{name}={}", choices.of(&ESCAPES)),
        }
    });
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let mut request = Request::builder().method(choices.of(&METHODS)).uri(target);
    for (name, value) in choices.list(5, |choices| (choices.of(&NAMES), choices.of(&VALUES))) {
        request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}
