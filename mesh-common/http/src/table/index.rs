//! Which matches a request's path and headers leave worth a look.
//!
//! Exact paths are found by their hash, everything else in a tree of path segments: at a node hang the prefixes that end
//! there, and the regular expressions whose literal beginning leads there. Where many matches hang at one place, those
//! that want an exact value of a header or query parameter are found by that value.

use hashbrown::HashMap;
use http::HeaderName;
use http::request::Parts;

use super::compiled::{Compiled, PathTest};
use super::condition::{Field, Text, field, parameter};

/// A match's place in the order of precedence; its place in the list, too.
pub(super) type Rank = u32;
/// Where the tree begins.
const ROOT: u32 = 0;
/// So many matches at one place are looked at one by one; beyond, by values.
const FEW: usize = 8;

/// All matches of a table, by path.
#[derive(Debug)]
pub(super) struct Index {
    exact: HashMap<Box<str>, Bucket>,
    tree: Box<[Node]>,
}

/// A sequence of leading segments.
#[derive(Debug)]
struct Node {
    children: HashMap<Box<str>, u32>,
    /// The node with one segment less; of the root, itself.
    parent: u32,
    bucket: Bucket,
}

/// The matches at one place.
#[derive(Debug, Default)]
struct Bucket {
    /// To be looked at one by one, in order.
    plain: Box<[Rank]>,
    keyed: Box<[Keyed]>,
}

/// Matches that want an exact value of one header or query parameter.
#[derive(Debug)]
struct Keyed {
    key: Key,
    /// In order.
    by_value: HashMap<Box<[u8]>, Box<[Rank]>>,
    /// All of them, for a value that is not in one piece.
    all: Box<[Rank]>,
}

/// What a value is of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Header(HeaderName),
    Parameter(Box<str>),
}

/// An index in the making.
struct Builder {
    exact: HashMap<Box<str>, Vec<Rank>>,
    tree: Vec<Growing>,
}

struct Growing {
    children: HashMap<Box<str>, u32>,
    parent: u32,
    ranks: Vec<Rank>,
}

// === impl Index ===

impl Index {
    /// Of matches in order; with each, what the paths that a regular expression matches begin with.
    pub(super) fn new<'a>(matches: &[Compiled], beginnings: impl Fn(usize) -> &'a str) -> Self {
        let mut builder = Builder::new();
        for (at, compiled) in matches.iter().enumerate() {
            builder.add(at, compiled, beginnings(at));
        }
        builder.finish(matches)
    }

    /// The first match in order that the request fulfils.
    pub(super) fn first(&self, matches: &[Compiled], request: &Parts) -> Option<Rank> {
        let path = request.uri.path();
        let search = Search {
            matches,
            request,
            path,
        };
        let mut best = self
            .exact
            .get(path)
            .map_or(Rank::MAX, |bucket| bucket.first(&search, Rank::MAX));
        let mut at = self.deepest(path);
        // Deeper prefixes go first, so what hangs nearer to the root is mostly passed over by its rank.
        while let Some(node) = self.tree.get(at as usize) {
            best = node.bucket.first(&search, best);
            if at == ROOT {
                break;
            }
            at = node.parent;
        }
        (best != Rank::MAX).then_some(best)
    }

    /// The node that most segments of the path lead to.
    fn deepest(&self, path: &str) -> u32 {
        let mut at = ROOT;
        let segments = path
            .strip_prefix('/')
            .into_iter()
            .flat_map(|rest| rest.split('/'));
        for segment in segments {
            match self
                .tree
                .get(at as usize)
                .and_then(|node| node.children.get(segment))
            {
                Some(child) => at = *child,
                None => break,
            }
        }
        at
    }
}

// === impl Builder ===

impl Builder {
    fn new() -> Self {
        Self {
            exact: HashMap::new(),
            tree: vec![Growing::new(ROOT)],
        }
    }

    fn add(&mut self, at: usize, compiled: &Compiled, beginning: &str) {
        // A table with 2³² matches does not fit into a message of the control plane.
        let rank = Rank::try_from(at).unwrap_or(Rank::MAX);
        let segments = match &compiled.path {
            PathTest::Exact(path) => {
                self.exact.entry(path.clone()).or_default().push(rank);
                return;
            }
            PathTest::Prefix(prefix) => prefix.to_string(),
            // The last segment of a beginning may be a part of one.
            PathTest::Regex(_) => beginning
                .rsplit_once('/')
                .map_or_else(String::new, |(whole, _)| whole.to_owned()),
            PathTest::Grpc {
                service: Some(Text::Exact(service)),
                method: Some(Text::Exact(method)),
            } => {
                let path = format!("/{service}/{method}").into();
                self.exact.entry(path).or_default().push(rank);
                return;
            }
            PathTest::Grpc {
                service: Some(Text::Exact(service)),
                ..
            } => format!("/{service}"),
            PathTest::Grpc { .. } => String::new(),
        };
        let node = self.node(&segments);
        if let Some(node) = self.tree.get_mut(node as usize) {
            node.ranks.push(rank);
        }
    }

    /// The node of a prefix without a slash at its end, made where it is missing.
    fn node(&mut self, prefix: &str) -> u32 {
        let mut at = ROOT;
        let segments = prefix
            .strip_prefix('/')
            .into_iter()
            .flat_map(|rest| rest.split('/'));
        for segment in segments {
            let next = u32::try_from(self.tree.len()).unwrap_or(u32::MAX);
            let Some(node) = self.tree.get_mut(at as usize) else {
                break;
            };
            let child = *node.children.entry(segment.into()).or_insert(next);
            if child == next {
                self.tree.push(Growing::new(at));
            }
            at = child;
        }
        at
    }

    fn finish(self, matches: &[Compiled]) -> Index {
        let exact = self.exact.into_iter();
        let tree = self.tree.into_iter();
        Index {
            exact: exact
                .map(|(path, ranks)| (path, Bucket::new(ranks, matches)))
                .collect(),
            tree: tree
                .map(|node| Node {
                    children: node.children,
                    parent: node.parent,
                    bucket: Bucket::new(node.ranks, matches),
                })
                .collect(),
        }
    }
}

impl Growing {
    fn new(parent: u32) -> Self {
        Self {
            children: HashMap::new(),
            parent,
            ranks: Vec::new(),
        }
    }
}

// === impl Bucket ===

/// What is searched for.
struct Search<'a> {
    matches: &'a [Compiled],
    request: &'a Parts,
    path: &'a str,
}

impl Bucket {
    /// `ranks` are in order.
    fn new(ranks: Vec<Rank>, matches: &[Compiled]) -> Self {
        if ranks.len() <= FEW {
            return Self {
                plain: ranks.into(),
                keyed: Box::default(),
            };
        }
        let mut plain = Vec::new();
        let mut keyed: Vec<(Key, Vec<(&str, Rank)>)> = Vec::new();
        for rank in ranks {
            match matches.get(rank as usize).and_then(exact_value) {
                None => plain.push(rank),
                Some((key, value)) => match keyed.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, wanted)) => wanted.push((value, rank)),
                    None => keyed.push((key, vec![(value, rank)])),
                },
            }
        }
        Self {
            plain: plain.into(),
            keyed: keyed
                .into_iter()
                .map(|(key, wanted)| Keyed::new(key, &wanted))
                .collect(),
        }
    }

    /// The first match that the request fulfils, if it is before `best`; else `best`.
    fn first(&self, search: &Search<'_>, mut best: Rank) -> Rank {
        best = search.first_of(&self.plain, best);
        for keyed in &self.keyed {
            let value = match &keyed.key {
                Key::Header(name) => field(search.request, name),
                Key::Parameter(name) => parameter(search.request, name),
            };
            let candidates = match value {
                Field::Absent => None,
                Field::One(value) => keyed.by_value.get(value),
                Field::Many => Some(&keyed.all),
            };
            best = candidates.map_or(best, |ranks| search.first_of(ranks, best));
        }
        best
    }
}

/// The first header, or else query parameter, of which a match wants an exact value.
fn exact_value(compiled: &Compiled) -> Option<(Key, &str)> {
    let header = compiled
        .conditions
        .headers
        .iter()
        .find_map(|header| Some((Key::Header(header.name.clone()), header.value.exact()?)));
    header.or_else(|| {
        let mut query = compiled.conditions.query.iter();
        query.find_map(|wanted| Some((Key::Parameter(wanted.name.clone()), wanted.value.exact()?)))
    })
}

impl Search<'_> {
    fn first_of(&self, ranks: &[Rank], best: Rank) -> Rank {
        ranks
            .iter()
            .copied()
            .take_while(|rank| *rank < best)
            .find(|rank| {
                self.matches.get(*rank as usize).is_some_and(|candidate| {
                    candidate.path.matches_further(self.path) && candidate.conditions.hold(self.request)
                })
            })
            .unwrap_or(best)
    }
}

// === impl Keyed ===

impl Keyed {
    fn new(key: Key, wanted: &[(&str, Rank)]) -> Self {
        let mut by_value: HashMap<Box<[u8]>, Vec<Rank>> = HashMap::new();
        for (value, rank) in wanted {
            by_value.entry(value.as_bytes().into()).or_default().push(*rank);
        }
        Self {
            key,
            by_value: by_value
                .into_iter()
                .map(|(value, ranks)| (value, ranks.into()))
                .collect(),
            all: wanted.iter().map(|(_, rank)| *rank).collect(),
        }
    }
}
