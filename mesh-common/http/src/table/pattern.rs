//! Regular expressions of route rules: each a finished automaton that reads a value once, byte by byte.
//!
//! A dense DFA needs neither memory nor a lock while it runs, and its time does not depend on the expression. What it
//! needs instead is room, which is bounded here: an expression whose automaton does not fit is refused.

use std::error::Error;
use std::fmt;

use regex_automata::dfa::dense;
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::literal::Extractor;

/// Longest expression, in bytes. Gateway API allows 1,024 for a path and 4,096 for a header.
const MAX_LEN: usize = 4096;
/// Largest automaton, and what may be used to make it, in bytes. `[a-z0-9-]{1,63}` needs 2 KiB.
const MAX_AUTOMATON: usize = 256 * 1024;
const MAX_WORK: usize = 1024 * 1024;
/// Deepest nesting of groups.
const MAX_NESTING: u32 = 50;

/// A regular expression that matches whole values.
pub(super) struct Pattern {
    automaton: dense::DFA<Vec<u32>>,
    start: StateID,
}

// === impl Pattern ===

impl Pattern {
    /// Compiles an expression; the error says what is wrong with it.
    pub(super) fn new(expression: &str) -> Result<Self, String> {
        if expression.len() > MAX_LEN {
            return Err(format!("it is longer than {MAX_LEN} bytes"));
        }
        let automaton = dense::Builder::new()
            .syntax(syntax_config())
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_WORK)))
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    // Leftmost-first would stop at the first alternative that matches a part.
                    .match_kind(MatchKind::All)
                    .dfa_size_limit(Some(MAX_AUTOMATON))
                    .determinize_size_limit(Some(MAX_WORK)),
            )
            .build(expression)
            .map_err(|error| explain(&error))?;
        let start = automaton
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|error| error.to_string())?;
        Ok(Self { automaton, start })
    }

    /// Whether the expression matches all of the value.
    pub(super) fn matches(&self, value: impl Iterator<Item = u8>) -> bool {
        let mut state = self.start;
        for byte in value {
            state = self.automaton.next_state(state, byte);
            if self.automaton.is_dead_state(state) {
                return false;
            }
        }
        // A match is seen one step late (documentation of `Automaton`).
        self.automaton
            .is_match_state(self.automaton.next_eoi_state(state))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The states of the automaton tell nobody anything.
        f.debug_struct("Pattern").finish_non_exhaustive()
    }
}

/// What every value that the expression matches begins with.
pub(super) fn literal_prefix(expression: &str) -> String {
    let Ok(parsed) = syntax::parse_with(expression, &syntax_config()) else {
        return String::new();
    };
    let literals = Extractor::new().extract(&parsed);
    let common = literals.longest_common_prefix().unwrap_or_default();
    let text = common.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    text.to_owned()
}

/// RE2's meaning of `\d`, `\w`, `\s`, `\b` and `(?i)`: ASCII's. A value is bytes, so `.` matches what is no UTF-8, too.
fn syntax_config() -> syntax::Config {
    syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(MAX_NESTING)
}

fn explain(error: &dense::BuildError) -> String {
    let causes = || std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let is_nfa_too_large = causes()
        .filter_map(|cause| cause.downcast_ref::<thompson::BuildError>())
        .any(|cause| cause.size_limit().is_some());
    if is_nfa_too_large || error.is_size_limit_exceeded() {
        return "its automaton is too large: use fewer or smaller repetitions".to_owned();
    }
    // The innermost cause has the place in the expression.
    causes()
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, value: &str) -> bool {
        Pattern::new(expression).unwrap().matches(value.bytes())
    }

    #[test]
    fn matches_whole_values_only() {
        assert!(matches("/v[0-9]+/users", "/v12/users"));
        for value in ["/v12/users/", "x/v12/users", "/v/users", "/v12/users\n", ""] {
            assert!(!matches("/v[0-9]+/users", value), "{value:?}");
        }
        assert!(matches("", ""));
        assert!(!matches("", "a"));
    }

    #[test]
    fn an_alternative_that_matches_a_part_hides_no_other() {
        assert!(matches("a|ab", "ab"));
        assert!(matches("(a|ab)(c|bcd)", "abcd"));
        assert!(matches("a*?", "aaa"));
        assert!(!matches("a|b", "ab"));
    }

    #[test]
    fn anchors_and_word_boundaries_keep_their_meaning() {
        assert!(matches("^/a$", "/a"));
        assert!(matches(r".*\bcat\b.*", "a cat sat"));
        assert!(!matches(r".*\bcat\b.*", "concatenate"));
        assert!(!matches("a$b", "a"));
    }

    #[test]
    fn is_ascii_as_re2_is() {
        assert!(matches(r"\w+\d", "ab_1"));
        assert!(!matches(r"\w", "é"));
        assert!(!matches("(?i)k", "\u{212a}"), "the Kelvin sign is no k");
        let any = Pattern::new(".*").unwrap();
        assert!(
            any.matches([0x66, 0xe9, 0xff].into_iter()),
            "Latin-1 is a value too"
        );
    }

    #[test]
    fn refuses_what_is_no_expression_and_says_why() {
        for (expression, why) in [
            ("(", "unclosed group"),
            ("a)|(b", "unopened group"),
            (r"(a)\1", "backreferences"),
            ("a(?=b)", "look-around"),
            ("[b-a]", "invalid character class range"),
        ] {
            let error = Pattern::new(expression).unwrap_err();
            assert!(error.contains(why), "{expression}: {error}");
        }
    }

    #[test]
    fn refuses_what_would_be_too_large() {
        for expression in ["(a{100}){100}{100}", ".*a.{30}", "(.{0,255}x){5}"] {
            let error = Pattern::new(expression).unwrap_err();
            assert!(error.contains("too large"), "{expression}: {error}");
        }
        assert!(Pattern::new(&"a".repeat(MAX_LEN)).is_ok());
        assert!(
            Pattern::new(&"a".repeat(MAX_LEN + 1))
                .unwrap_err()
                .contains("longer")
        );
        assert!(Pattern::new(&"(".repeat(200)).is_err());
    }

    #[test]
    fn takes_what_people_write() {
        for expression in [
            "/api/v[0-9]+(/.*)?",
            r"/users/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            r"(?i)^.*(chrome|firefox|safari)/\d+\..*$",
            r"[^@]+@[a-z0-9-]+(\.[a-z0-9-]{1,63}){1,8}",
            "[a-z0-9-]{1,63}",
            ".{1,1000}",
            r"Bearer [A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_.+/=-]*",
        ] {
            assert!(Pattern::new(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn finds_what_matching_values_begin_with() {
        for (expression, prefix) in [
            ("/api/v[0-9]+", "/api/v"),
            ("^/api/.*", "/api/"),
            ("/a|/b", "/"),
            ("/a|b", ""),
            ("(?i)/a", "/"),
            (".*", ""),
            ("(", ""),
        ] {
            assert_eq!(literal_prefix(expression), prefix, "{expression}");
        }
    }
}
