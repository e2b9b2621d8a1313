//! A record's fault on its way up from where it was found, collecting its path.
//!
//! Refuses to hold values of the record. Everything here is the cold path: a good record never comes by.

use super::reject::{Reason, Rejection};

/// Names of fields in a path are cut to this many bytes; they come from outside.
const KEY_BYTES_MAX: usize = 128;

/// One pointer wide, so that results stay small on the good path.
#[derive(Debug)]
pub struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    reason: Reason,
    detail: String,
    /// Innermost first.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

pub type Result<T = ()> = std::result::Result<T, Fault>;

impl Fault {
    #[cold]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Fault(Box::new(Inner { reason, detail: detail.into(), path: Vec::new() }))
    }

    #[cold]
    pub fn invalid_json(expected: &str, position: usize) -> Self {
        Fault::new(Reason::InvalidJson, format!("expected {expected} at byte {position}"))
    }

    /// The plan and the columns disagree: a mistake of this crate, answered as a rejection so that
    /// nothing is lost.
    #[cold]
    pub fn layout() -> Self {
        Fault::new(Reason::WrongType, "the columns do not fit the table's plan")
    }

    #[cold]
    pub fn at_key(mut self, key: &str) -> Self {
        let mut end = key.len().min(KEY_BYTES_MAX);
        while !key.is_char_boundary(end) {
            end -= 1;
        }
        self.0.path.push(Step::Key(key.get(..end).unwrap_or_default().to_owned()));
        self
    }

    #[cold]
    pub fn at_index(mut self, index: usize) -> Self {
        self.0.path.push(Step::Index(index));
        self
    }

    /// The text being invalid is a fault of the whole record, wherever it was noticed.
    fn has_place(&self) -> bool {
        !matches!(self.0.reason, Reason::InvalidJson | Reason::TooDeep)
    }

    #[cold]
    pub fn into_rejection(self) -> Rejection {
        let mut path = String::new();
        if self.has_place() {
            for step in self.0.path.iter().rev() {
                match step {
                    Step::Key(key) if path.is_empty() => path.push_str(key),
                    Step::Key(key) => {
                        path.push('.');
                        path.push_str(key);
                    }
                    Step::Index(index) => path.push_str(&format!("[{index}]")),
                }
            }
        }
        Rejection { reason: self.0.reason, path, detail: self.0.detail }
    }
}
