//! The layout on the wire that a ClickHouse type's name stands for.
//!
//! Refuses to know values: it only tells widths, strings and nesting apart. A name that it does not
//! know is refused, never guessed.

/// How the values of a type lie in a Native block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireType {
    /// Values of so many bytes each, one after the other.
    Fixed(usize),
    String,
    /// As strings, after a version prefix.
    Json,
    /// One byte for each row that is 1 for null, then the values.
    Nullable(Box<WireType>),
    /// The end of each row's items as a running count, then the items.
    Array(Box<WireType>),
    /// One column after the other.
    Tuple(Vec<WireType>),
}

/// Types may nest so deep; more is a mistake.
const DEPTH_MAX: usize = 32;

impl WireType {
    /// Reads a type's name as ClickHouse writes it, without `LowCardinality`.
    ///
    /// # Errors
    /// A sentence that names the part of the type that is not known.
    pub fn parse(name: &str) -> Result<WireType, String> {
        parse(name, 0)
    }
}

fn parse(name: &str, depth: usize) -> Result<WireType, String> {
    if depth > DEPTH_MAX {
        return Err(format!("the type nests deeper than {DEPTH_MAX} levels"));
    }
    let (head, args) = head(name)?;
    if let Some(width) = width(head, &args) {
        return Ok(WireType::Fixed(width));
    }
    let one = || match args.as_slice() {
        [inner] => parse(inner, depth + 1).map(Box::new),
        _ => Err(format!("`{name}` does not have one argument")),
    };
    match head {
        "String" => Ok(WireType::String),
        "JSON" => Ok(WireType::Json),
        "Nullable" => one().map(WireType::Nullable),
        "Array" => one().map(WireType::Array),
        "Map" => {
            let parts = args.iter().map(|arg| parse(arg, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            match parts.len() {
                2 => Ok(WireType::Array(Box::new(WireType::Tuple(parts)))),
                _ => Err(format!("`{name}` does not have a key and a value")),
            }
        }
        "Tuple" => {
            let parts = args.iter().map(|arg| parse(element(arg).1, depth + 1));
            parts.collect::<Result<Vec<_>, _>>().map(WireType::Tuple)
        }
        _ => Err(format!("the type `{name}` is not known on the wire")),
    }
}

/// The word that a type's name begins with, and what stands in its brackets.
pub(super) fn head(name: &str) -> Result<(&str, Vec<&str>), String> {
    let name = name.trim();
    match name.split_once('(') {
        Some((head, rest)) => {
            let args = rest.strip_suffix(')').ok_or_else(|| format!("`{name}` lacks a closing bracket"))?;
            Ok((head.trim(), split(args)))
        }
        None => Ok((name, Vec::new())),
    }
}

/// Bytes of a value of a type of fixed width.
fn width(head: &str, args: &[&str]) -> Option<usize> {
    Some(match head {
        "Int8" | "UInt8" | "Bool" | "Enum8" => 1,
        "Int16" | "UInt16" | "Enum16" | "Date" => 2,
        "Int32" | "UInt32" | "Float32" | "Date32" | "DateTime" | "IPv4" | "Decimal32" => 4,
        "Int64" | "UInt64" | "Float64" | "DateTime64" | "Decimal64" => 8,
        "Int128" | "UInt128" | "UUID" | "IPv6" | "Decimal128" => 16,
        "Int256" | "UInt256" | "Decimal256" => 32,
        "FixedString" => args.first()?.trim().parse().ok()?,
        "Decimal" => match args.first()?.trim().parse::<u32>().ok()? {
            1..=9 => 4,
            10..=18 => 8,
            19..=38 => 16,
            39..=76 => 32,
            _ => return None,
        },
        _ => return None,
    })
}

/// Splits at the commas that stand outside of brackets and quotes.
fn split(args: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in args.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '`' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.extend(args.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(args.get(start..));
    parts
}

/// The name of a tuple's element, if it has one (`a UInt8`), and its type.
pub(super) fn element(arg: &str) -> (Option<&str>, &str) {
    let arg = arg.trim();
    if let Some(rest) = arg.strip_prefix('`') {
        return rest.split_once('`').map_or((None, arg), |(name, ty)| (Some(name), ty));
    }
    let word = arg.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(arg.len());
    match arg.split_at_checked(word) {
        Some((name, rest)) if rest.starts_with(' ') && !rest.trim_start().starts_with('(') => {
            (Some(name), rest)
        }
        _ => (None, arg),
    }
}

#[cfg(test)]
mod tests {
    use super::WireType::{Array, Fixed, Json, Nullable, String, Tuple};
    use super::*;

    #[test]
    fn names_become_layouts() {
        let cases = [
            ("UInt8", Fixed(1)),
            ("Enum8('a,(' = 1, 'b\\'' = 2)", Fixed(1)),
            ("DateTime64(3, 'Europe/Berlin')", Fixed(8)),
            ("Decimal(38, 10)", Fixed(16)),
            ("FixedString(7)", Fixed(7)),
            ("Nullable(String)", Nullable(Box::new(String))),
            ("Array(Nullable(JSON))", Array(Box::new(Nullable(Box::new(Json))))),
            ("Map(String, UInt64)", Array(Box::new(Tuple(vec![String, Fixed(8)])))),
            (
                "Tuple(a UInt8, `b c` Array(Int16), String)",
                Tuple(vec![Fixed(1), Array(Box::new(Fixed(2))), String]),
            ),
            ("JSON(max_dynamic_paths=4)", Json),
        ];
        for (name, layout) in cases {
            assert_eq!(WireType::parse(name), Ok(layout), "{name}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let deep = format!("{}UInt8{}", "Array(".repeat(40), ")".repeat(40));
        for name in [
            "",
            "LowCardinality(String)",
            "Array(UInt8",
            "Nested(a UInt8)",
            "Map(String)",
            "Variant(UInt8)",
            &deep,
        ] {
            assert!(WireType::parse(name).is_err(), "{name}");
        }
    }
}
