//! What was declared: every family of metrics with kind, labels and meaning, from which `docs/metrics.md` is made.
//!
//! Refuses to know any metric: it writes down what the declarations hand to it. A test keeps the document equal to it.

use std::cell::{Cell, RefCell};
use std::fmt::Write;

use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// One family, as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    pub section: &'static str,
    pub name: String,
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

/// Declares metrics and keeps a list of them.
pub(super) struct Builder {
    pub(super) registry: Registry,
    families: RefCell<Vec<Family>>,
    section: Cell<&'static str>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder { registry: Registry::new(), families: RefCell::default(), section: Cell::new("") }
    }

    /// What is declared from here on belongs to this part of the document.
    pub(super) fn section(&self, title: &'static str) {
        self.section.set(title);
    }

    pub(super) fn families(self) -> (Registry, Vec<Family>) {
        (self.registry, self.families.into_inner())
    }

    pub(super) fn add<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        // Names and labels are literals of these files, so a unit test proves that this holds.
        #[allow(clippy::expect_used)]
        let collector = collector.expect("metric declared with a valid name");
        self.register(collector.clone());
        collector
    }

    pub(super) fn register<C: Collector + 'static>(&self, collector: C) {
        let empty = collector.collect();
        let kinds = empty.iter().map(|family| (family.name().to_owned(), kind(family.get_field_type())));
        let kinds: Vec<_> = kinds.collect();
        for desc in collector.desc() {
            let kind = kinds.iter().find(|(name, _)| *name == desc.fq_name).map_or("", |(_, kind)| kind);
            self.families.borrow_mut().push(Family {
                section: self.section.get(),
                name: desc.fq_name.clone(),
                kind,
                labels: desc.variable_labels.clone(),
                help: desc.help.clone(),
            });
        }
        #[allow(clippy::expect_used)]
        self.registry.register(Box::new(collector)).expect("metric declared once");
    }

    pub(super) fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(opts(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(opts(name, help), labels))
    }

    pub(super) fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.add(HistogramVec::new(opts, labels))
    }
}

fn kind(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => "untyped",
    }
}

pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("penstock_{name}"), help)
}

/// `count` bounds from `start`, each `factor` times the one before.
pub(super) fn exponential(start: f64, factor: f64, count: i32) -> Vec<f64> {
    (0..count).map(|i| start * factor.powi(i)).collect()
}

/// The unit that stands at the end of the name.
fn unit(family: &Family) -> &'static str {
    let name = family.name.strip_suffix("_total").unwrap_or(&family.name);
    match name {
        _ if name.ends_with("_timestamp_seconds") || name.ends_with("_start_time_seconds") => {
            "seconds since 1970"
        }
        _ if name.ends_with("_seconds") => "seconds",
        _ if name.ends_with("_bytes") => "bytes",
        _ if family.labels.iter().any(|label| label == "state" || label == "level") => "state set",
        _ => "",
    }
}

const HEAD: &str = include_str!("metrics_head.md");

/// `docs/metrics.md`.
pub fn document(families: &[Family]) -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for family in families {
        if family.section != section {
            section = family.section;
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "\n## {section}\n\n| Name | Kind | Labels | Unit | Meaning |\n|---|---|---|---|---|\n"
            );
        }
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (&family.name, family.kind, labels.join(", "));
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} | {} |", unit(family), family.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::metrics::METRICS;
    use super::*;

    #[test]
    fn the_document_is_what_is_declared() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let document = document(METRICS.families());
        if std::env::var_os("PENSTOCK_REGENERATE").is_some() {
            std::fs::write(path, &document).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == document,
            "docs/metrics.md is not what is declared; make it again with PENSTOCK_REGENERATE=1"
        );
    }

    #[test]
    fn names_tell_their_unit_and_every_family_has_a_meaning() {
        for family in METRICS.families() {
            let is_counter = family.kind == "counter";
            assert_eq!(is_counter, family.name.ends_with("_total"), "{family:?}");
            assert!(family.help.len() > 10 && !family.help.contains('|'), "{family:?}");
            assert!(!family.section.is_empty() && family.kind != "untyped", "{family:?}");
            for bad in ["client_id", "offset", "key", "query", "error", "message"] {
                assert!(!family.labels.iter().any(|label| label == bad), "{family:?}");
            }
        }
    }
}
