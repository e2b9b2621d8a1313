//! What an exception's number says about trying again: the one table, and the one parser of the number.
//!
//! Refuses to read the text of a message, but for code 252 that stands for two faults. A number that is
//! not in the table pauses and never counts as a fault of the data (invariant I8).

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// This endpoint cannot; another may at once.
    Elsewhere,
    /// The same again after a back-off.
    Later,
    /// The data is refused, and will be each time.
    Data,
    /// The configuration or the rights are wrong: nothing helps until somebody mends them.
    Stop,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Elsewhere => "elsewhere",
            Class::Later => "later",
            Class::Data => "data",
            Class::Stop => "stop",
        }
    }
}

/// A replica that only reads for now; the others may take the insert.
const ELSEWHERE: [u32; 1] = [242];

/// Unknown table, database, function, setting, no rights, quota, wrong password, schema mismatch.
const STOP: [u32; 23] =
    [16, 20, 44, 46, 47, 48, 60, 62, 73, 81, 115, 164, 192, 193, 194, 195, 201, 218, 291, 497, 516, 701, 741];

/// Values that do not parse, do not fit or break a constraint. 33 is not among them: it says that the
/// body was cut, and the bodies sent from here are whole.
const DATA: [u32; 23] =
    [6, 26, 27, 32, 38, 41, 43, 53, 69, 70, 72, 117, 130, 131, 349, 376, 441, 467, 469, 675, 676, 691, 190];

/// The server says itself that it does not know what became of the insert.
const UNKNOWN_OUTCOME: [u32; 4] = [209, 210, 279, 319];

/// Overload and lost neighbours, which pass by themselves. Statements that a person waits for are only
/// repeated for these, while a batch waits for whatever is not known.
const TRANSIENT: [u32; 25] = [
    202, 203, 209, 210, 225, 236, 241, 242, 252, 254, 265, 279, 285, 286, 319, 364, 415, 425, 439, 473, 499,
    574, 745, 999, 1002,
];

/// Too many parts and too many partitions share one number.
const TOO_MANY_PARTS: u32 = 252;

/// The exception's number in an answer, with the text from there on. The number may be all that there
/// is (it came from the header), or rows may stand before it, which can hold the same words.
pub fn exception_code(text: &str) -> Option<(u32, &str)> {
    let found = |full: bool, line_start: bool| {
        text.match_indices("Code: ").find_map(|(at, mark)| {
            let (before, exception) = text.split_at_checked(at)?;
            let rest = exception.strip_prefix(mark)?;
            let (number, rest) =
                rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()))?;
            let fits = (!full || rest.starts_with(". DB::"))
                && (!line_start || before.is_empty() || before.ends_with('\n'));
            if fits { Some((number.parse().ok()?, exception)) } else { None }
        })
    };
    found(true, true).or_else(|| found(true, false)).or_else(|| found(false, false))
}

/// The class of an exception's number; the text decides only for 252.
pub fn class_of(code: u32, text: &str) -> Class {
    match code {
        TOO_MANY_PARTS if text.contains("partitions for single INSERT") => Class::Data,
        _ if ELSEWHERE.contains(&code) => Class::Elsewhere,
        _ if STOP.contains(&code) => Class::Stop,
        _ if DATA.contains(&code) => Class::Data,
        _ => Class::Later,
    }
}

/// The class of an HTTP status that came without an exception's number, from a proxy as a rule.
pub fn class_of_status(status: u16) -> Class {
    match status {
        502..=504 => Class::Elsewhere,
        400..=499 if !matches!(status, 408 | 425 | 429) => Class::Stop,
        _ => Class::Later,
    }
}

/// Whether an exception's number speaks of a state that passes by itself.
pub fn is_transient(code: u32) -> bool {
    TRANSIENT.contains(&code)
}

/// Whether an exception's number leaves open what became of the statement.
pub fn outcome_unknown(code: u32) -> bool {
    UNKNOWN_OUTCOME.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_header_and_body() {
        let cases = [
            ("Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE)", Some(60)),
            ("Code: 252", Some(252)),
            ("{\"a\":1}\nCode: 159. DB::Exception: Timeout", Some(159)),
            ("Code: 279. All tries failed: Code: 210. refused", Some(279)),
            ("1\tCode: 5. DB::x\nCode: 159. DB::Exception: Timeout: Code: 210. DB::y", Some(159)),
            ("{\"exception\": \"Code: 395. DB::Exception: no\"}", Some(395)),
            ("Code: none, Code: 5.", Some(5)),
            ("503 Service Unavailable", None),
            ("Code: 99999999999999999999.", None),
            ("", None),
        ];
        for (text, code) in cases {
            assert_eq!(exception_code(text).map(|found| found.0), code, "{text}");
        }
    }

    #[test]
    fn each_number_has_its_class_and_the_unknown_ones_wait() {
        for code in [241, 202, 225, 999, 319, 3, 33, 354, 395, 159, 745, 0, 7, 1_000_000] {
            assert_eq!(class_of(code, ""), Class::Later, "{code}");
        }
        assert_eq!(class_of(252, "Too many parts (300)"), Class::Later);
        assert_eq!(class_of(252, "Too many partitions for single INSERT block (more than 100)"), Class::Data);
        assert_eq!(class_of(242, ""), Class::Elsewhere);
        for code in [60, 516, 497, 115, 201] {
            assert_eq!(class_of(code, ""), Class::Stop, "{code}");
        }
        for code in [469, 27, 6, 53] {
            assert_eq!(class_of(code, ""), Class::Data, "{code}");
        }
        let classes: [&[u32]; 3] = [&ELSEWHERE, &STOP, &DATA];
        let all: Vec<_> = classes.concat();
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len(), "one class each");
    }
}
