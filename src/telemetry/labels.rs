//! How many values a label may get that people outside choose: topics that a pattern finds.
//!
//! Refuses to forget: whoever came first keeps a series of its own, the rest share one, and how often that happened is
//! counted. So dashboards and their store stay bounded whatever topics are made.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::IntCounterVec;

/// What stands for everything beyond the bound.
pub const OTHER: &str = "_other";

/// Topics with series of their own.
pub const TOPICS_MAX: usize = 200;

/// The values of one label that have series of their own.
pub struct Bounded {
    label: &'static str,
    values_max: usize,
    known: RwLock<HashSet<Arc<str>>>,
    overflow: IntCounterVec,
}

impl Bounded {
    pub(super) fn new(label: &'static str, values_max: usize, overflow: &IntCounterVec) -> Bounded {
        overflow.with_label_values(&[label]);
        Bounded { label, values_max, known: RwLock::default(), overflow: overflow.clone() }
    }

    /// The value itself, or what stands for all that came too late.
    pub fn of<'a>(&self, value: &'a str) -> &'a str {
        if self.known.read().contains(value) {
            return value;
        }
        let mut known = self.known.write();
        if known.len() < self.values_max || known.contains(value) {
            known.insert(value.into());
            return value;
        }
        self.overflow.with_label_values(&[self.label]).inc();
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn whoever_comes_too_late_shares_one_value_and_is_counted() {
        let overflow = IntCounterVec::new(Opts::new("overflow", "o"), &["label"]).unwrap();
        let topics = Bounded::new("topic", 2, &overflow);
        assert_eq!(overflow.with_label_values(&["topic"]).get(), 0);
        assert_eq!((topics.of("a"), topics.of("b"), topics.of("c")), ("a", "b", OTHER));
        assert_eq!((topics.of("a"), topics.of("c")), ("a", OTHER));
        assert_eq!(overflow.with_label_values(&["topic"]).get(), 2);
    }
}
