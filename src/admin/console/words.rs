//! How spans and counts are said in sentences.
//!
//! Refuses to know what they are of.

/// A span as people say it: `3 s`, `4 min`, `2 h`, `5 days`.
pub fn span(seconds: f64) -> String {
    let rounded = |unit_s: f64| (seconds / unit_s).round().max(0.0);
    match seconds {
        s if s < 0.95 => format!("{:.1} s", s.max(0.0)),
        s if s < 99.5 => format!("{} s", rounded(1.0)),
        s if s < 99.5 * 60.0 => format!("{} min", rounded(60.0)),
        s if s < 47.5 * 3600.0 => format!("{} h", rounded(3600.0)),
        _ => format!("{} days", rounded(86_400.0)),
    }
}

/// A count with its thousands apart: `41 210`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`.
pub fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_counts_as_people_say_them() {
        for (seconds, said) in [
            (-1.0, "0.0 s"),
            (0.44, "0.4 s"),
            (3.2, "3 s"),
            (88.0, "88 s"),
            (240.0, "4 min"),
            (7200.0, "2 h"),
            (3.0 * 86_400.0, "3 days"),
        ] {
            assert_eq!(span(seconds), said);
        }
        assert_eq!(
            (count(7).as_str(), count(41_210).as_str(), count(1_000_000).as_str()),
            ("7", "41 210", "1 000 000")
        );
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".to_owned(), "0 rows".to_owned()));
    }
}
