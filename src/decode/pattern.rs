//! A pattern that a text must match, as plain prefixes where it says nothing more.
//!
//! Refuses to change what matches: whatever is not certainly a set of beginnings stays a regular expression.

use regex::Regex;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind, Look};

/// More beginnings than these are left to the regular expression.
const PREFIXES_MAX: usize = 16;

#[derive(Debug, Clone)]
pub enum Pattern {
    /// The text begins with one of these.
    Prefix(Vec<Box<[u8]>>),
    Regex(Regex),
}

impl Pattern {
    pub fn new(regex: &Regex) -> Self {
        match prefixes(regex.as_str()) {
            Some(prefixes) => Pattern::Prefix(prefixes),
            None => Pattern::Regex(regex.clone()),
        }
    }

    #[inline]
    pub fn is_match(&self, text: &str) -> bool {
        match self {
            Pattern::Prefix(prefixes) => prefixes.iter().any(|prefix| text.as_bytes().starts_with(prefix)),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// What texts begin with that match `^` and something finite without another condition on the place.
fn prefixes(pattern: &str) -> Option<Vec<Box<[u8]>>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let (first, rest) = parts.split_first()?;
    if *first.kind() != HirKind::Look(Look::Start) {
        return None;
    }
    let rest = Hir::concat(rest.to_vec());
    if !rest.properties().look_set().is_empty() {
        return None;
    }
    let found = Extractor::new().kind(ExtractKind::Prefix).extract(&rest);
    // Exact literals are all that the rest can be, so whatever follows them does not matter.
    let literals = found.literals().filter(|all| all.len() <= PREFIXES_MAX && found.is_exact())?;
    Some(literals.iter().map(|literal| literal.as_bytes().into()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_set_of_beginnings_becomes_prefixes() {
        for (pattern, count) in [("^https?://", 2), ("^(?:a|b|cd)x", 3), ("^[ab]c", 2), ("^a", 1)] {
            assert!(
                matches!(Pattern::new(&Regex::new(pattern).unwrap()), Pattern::Prefix(all) if all.len() == count)
            );
        }
        for pattern in ["a", "^a+", "^a$", "a|^b", "^a|b", "^a\\b", "(?m)^a", "^[a-z]", "^a^b", "^.", "^", ""]
        {
            let is_regex = matches!(Pattern::new(&Regex::new(pattern).unwrap()), Pattern::Regex(_));
            assert!(is_regex, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_regular_expression_matches(
            pattern in "\\^(a|b\\?|\\(a\\|bc\\)|\\[ab\\]|\\(\\?i:a\\)|ab\\{1,2\\}){1,3}", text in "[abcAB]{0,6}"
        ) {
            let regex = Regex::new(&pattern).unwrap();
            prop_assert_eq!(Pattern::new(&regex).is_match(&text), regex.is_match(&text), "{}", pattern);
        }
    }
}
