//! A chain of compression codecs as people write it: `Delta, ZSTD(3)`.
//!
//! Refuses to know which codecs a server has. What parses prints as words, numbers, commas and parentheses only, so
//! that it may stand in a statement (I11).

use std::fmt;
use std::str::FromStr;

/// What stands between the parentheses of `CODEC(…)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Codec(Vec<(String, Vec<u32>)>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no codec\nhint: write names with their numbers, parted by commas: `ZSTD(3)` or `Delta, ZSTD(1)`"
)]
pub struct Error(String);

impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error(text.to_owned());
        let mut rest = text.trim();
        let mut chain = Vec::new();
        loop {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return Err(refused());
            }
            rest = behind.trim_start();
            let mut numbers = Vec::new();
            if let Some(inner) = rest.strip_prefix('(') {
                let (inside, behind) = inner.split_once(')').ok_or_else(refused)?;
                for number in inside.split(',') {
                    numbers.push(number.trim().parse().map_err(|_| refused())?);
                }
                rest = behind.trim_start();
            }
            chain.push((name.to_owned(), numbers));
            if rest.is_empty() {
                return Ok(Codec(chain));
            }
            rest = rest.strip_prefix(',').ok_or_else(refused)?.trim_start();
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(name, numbers): &(String, Vec<u32>)| {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            if numbers.is_empty() { name.clone() } else { format!("{name}({})", numbers.join(", ")) }
        };
        f.write_str(&self.0.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parses_prints_to_the_same_and_nothing_else_gets_through() {
        for (text, printed) in [
            ("ZSTD(3)", "ZSTD(3)"),
            (" Delta ,ZSTD( 1 )", "Delta, ZSTD(1)"),
            ("Gorilla(8), LZ4", "Gorilla(8), LZ4"),
            ("AES_128_GCM_SIV", "AES_128_GCM_SIV"),
        ] {
            let codec: Codec = text.parse().unwrap();
            assert_eq!(codec.to_string(), printed);
            assert_eq!(printed.parse(), Ok(codec));
        }
        for text in [
            "",
            "ZSTD(",
            "ZSTD()",
            "ZSTD(-1)",
            "ZSTD) TTL x",
            "ZSTD; DROP",
            "ZSTD,",
            "9",
            "ZSTD(1) LZ4",
            "'x'",
        ] {
            assert!(text.parse::<Codec>().is_err(), "{text}");
        }
    }
}
