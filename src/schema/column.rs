//! One column of the table file, checked and turned into the model's.
//!
//! Refuses to know other columns. A column that comes out without a fault has constraints that fit its
//! type, and either cannot be absent or has something to stand in for it.

use super::decimal::{Decimal, int_bounds};
use super::fault::Faults;
use super::file::{ColumnFile, Flag, PathFile, Scalar};
use super::fit;
use super::model::{Column, Constraints, Meta, Source, Type};
use super::pattern::PATTERN_BYTES_MAX;
use super::protect;

/// What surrounds a column in the file.
pub(super) struct Place<'a> {
    /// `columns[3]`.
    pub path: String,
    /// The column of the JSON Schema document that this one takes the place of.
    pub inherited: Option<&'a Column>,
    /// Whether `unknown_fields` keeps the rest of the record here.
    pub keeps_rest: bool,
}

impl Place<'_> {
    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }
}

/// `None` when the column cannot be used further; the reasons are then among the faults.
pub(super) fn resolve(file: &ColumnFile, place: &Place<'_>, faults: &mut Faults) -> Option<Column> {
    let name = file.name.clone()?;
    if name.is_empty() || name.contains('\0') {
        faults.add(place.at("name"), "the name is empty or holds a NUL", "give the column a name");
    }
    let source = source(file, &name, place, faults);
    let ty = column_type(file, place, faults)?;
    let source = source?;
    let coercion = file.coerce.as_ref().map(|coerce| coerce.coercion()).unwrap_or_default();
    let time_format = file.time_format.map(|format| format.model()).unwrap_or_default();
    let constraints = constraints(file, &ty, place, faults);
    let mut column = Column {
        name,
        ty,
        source,
        default: None,
        required: false,
        constraints,
        coercion,
        time_format,
        protect: None,
    };
    check_source(file, &column, place, faults);
    absence(file, &mut column, place, faults);
    if let Some(protect) = &file.protect {
        column.protect = protect::resolve(protect, &column, &place.at("protect"), faults);
    }
    Some(column)
}

fn column_type(file: &ColumnFile, place: &Place<'_>, faults: &mut Faults) -> Option<Type> {
    match (&file.ty, place.inherited) {
        (Some(text), _) => text
            .parse()
            .map_err(|error: super::ty::Error| {
                faults.add(
                    place.at("type"),
                    error.to_string(),
                    "write the type as ClickHouse does, such as `Nullable(DateTime64(3))`",
                );
            })
            .ok(),
        (None, Some(column)) => Some(column.ty.clone()),
        (None, None) => {
            faults.add(&place.path, "`type` is missing", super::structure::hint("type"));
            None
        }
    }
}

fn source(file: &ColumnFile, name: &str, place: &Place<'_>, faults: &mut Faults) -> Option<Source> {
    if file.path.is_some() && file.from.is_some() {
        faults.add(&place.path, "`path` and `from` exclude each other", "keep the one that holds the value");
    }
    if place.keeps_rest {
        if file.path.is_some() || file.from.is_some() {
            faults.add(&place.path, "this column keeps the unknown fields", "take `path` and `from` away");
        }
        return Some(Source::Rest);
    }
    if let Some(from) = file.from {
        return Some(Source::Meta(from.model()));
    }
    let keys = match (&file.path, place.inherited) {
        (Some(PathFile::Dotted(text)), _) if text.starts_with('$') => {
            faults.add(
                place.at("path"),
                format!("`{text}` is metadata"),
                format!("write `from: {text}`, or `path: [\"{text}\"]` for a field of that name"),
            );
            return None;
        }
        (Some(PathFile::Dotted(text)), _) => text.split('.').map(str::to_owned).collect(),
        (Some(PathFile::Keys(keys)), _) => keys.clone(),
        (None, Some(Column { source: Source::Path(keys), .. })) => keys.clone(),
        (None, _) => vec![name.to_owned()],
    };
    let dotted = matches!(file.path, Some(PathFile::Dotted(_)));
    if keys.is_empty() || (dotted && keys.iter().any(String::is_empty)) {
        faults.add(
            place.at("path"),
            "the path has an empty key",
            "write keys with one dot between them, or a list of keys",
        );
        return None;
    }
    Some(Source::Path(keys))
}

/// Metadata and kept fields are not judged by rules for fields.
fn check_source(file: &ColumnFile, column: &Column, place: &Place<'_>, faults: &mut Faults) {
    let meta = match &column.source {
        Source::Path(_) => return,
        Source::Rest => None,
        Source::Meta(meta) => Some(*meta),
    };
    let ruled = file.one_of.is_some()
        || file.min.is_some()
        || file.max.is_some()
        || file.length.is_some()
        || file.pattern.is_some()
        || file.format.is_some()
        || file.past_max.is_some()
        || file.future_max.is_some()
        || file.coerce.is_some()
        || file.time_format.is_some();
    if ruled {
        faults.add(
            &place.path,
            "constraints and coercions are for fields of the record",
            "take them away from this column",
        );
    }
    let bare = column.ty.bare();
    let wide = |bits: u16| matches!(bare, Type::Int(int) if int.bits >= bits);
    let (fits, hint) = match meta {
        None => (matches!(column.ty, Type::Json), "give it the type JSON"),
        Some(Meta::Topic | Meta::Key) => {
            (matches!(bare, Type::String), "give it the type String or LowCardinality(String)")
        }
        Some(Meta::Partition) => (wide(32), "give it the type Int32"),
        Some(Meta::Offset) => (wide(64), "give it the type Int64"),
        Some(Meta::Timestamp) => (
            wide(64) || matches!(bare, Type::DateTime { .. } | Type::DateTime64 { .. }),
            "give it the type DateTime64(3) or Int64 (milliseconds)",
        ),
    };
    if !fits {
        faults.add(place.at("type"), format!("{} cannot hold it", column.ty), hint);
    }
}

/// Absent is the default, else NULL, else a rejection; never a silent zero.
fn absence(file: &ColumnFile, column: &mut Column, place: &Place<'_>, faults: &mut Faults) {
    let nullable = column.ty.is_nullable();
    let rest = column.source == Source::Rest;
    if let Some(default) = &file.default {
        if let Err(message) = fit::value(default, &column.ty, column.time_format, column.coercion.truncate) {
            faults.add(
                place.at("default"),
                format!("the default does not fit {}: {message}", column.ty),
                "write a value of the column's type",
            );
        }
        if file.required == Some(true) {
            faults.add(
                place.at("default"),
                "a required field has no use for a default",
                "take `default` or `required: true` away",
            );
        }
        if rest {
            faults.add(place.at("default"), "the kept fields have no default", "take `default` away");
        }
        column.default = (!default.is_null()).then(|| default.clone());
    } else if file.required == Some(false) && !nullable && !rest {
        faults.add(
            &place.path,
            "the field may be absent, but there is neither a default nor NULL to stand for it",
            format!(
                "add `default: …`, write `type: Nullable({})`, or take `required: false` away",
                column.ty.bare()
            ),
        );
    }
    column.required = !rest && (file.required.unwrap_or(false) || (column.default.is_none() && !nullable));
    let asked = file.coerce.as_ref().is_some_and(|coerce| coerce.names(Flag::NullAsDefault));
    if asked && column.default.is_none() {
        faults.add(place.at("coerce"), "`null_as_default` has no default to take", "add `default: …`");
    }
}

fn constraints(file: &ColumnFile, ty: &Type, place: &Place<'_>, faults: &mut Faults) -> Constraints {
    let bare = ty.bare();
    let (min, max) = range(file, bare, place, faults);
    let (length_min, length_max) = length(file, bare, place, faults);
    let mut suits = |key: &str, given: bool, fits: bool, hint: &str| {
        if given && !fits {
            faults.add(place.at(key), format!("`{key}` does not go with {ty}"), hint);
        }
    };
    let text = matches!(bare, Type::String | Type::FixedString(_));
    let time = matches!(bare, Type::Date | Type::Date32 | Type::DateTime { .. } | Type::DateTime64 { .. });
    let string = matches!(bare, Type::String);
    suits("pattern", file.pattern.is_some(), string, "patterns are for String");
    suits("format", file.format.is_some(), string, "formats are for String; other types check their own");
    suits("past_max", file.past_max.is_some(), time, "it is for Date, Date32, DateTime and DateTime64");
    suits("future_max", file.future_max.is_some(), time, "it is for Date, Date32, DateTime and DateTime64");
    suits("time_format", file.time_format.is_some(), time, "it is for Date, Date32, DateTime and DateTime64");
    let listable = text
        || matches!(bare, Type::Int(_) | Type::Float32 | Type::Float64 | Type::Decimal { .. } | Type::Bool)
        || matches!(bare, Type::Enum8(_) | Type::Enum16(_));
    suits("enum", file.one_of.is_some(), listable, "it is for numbers, texts, Bool and enumerations");
    Constraints {
        one_of: if listable { one_of(file, bare, place, faults) } else { Vec::new() },
        min,
        max,
        length_min,
        length_max,
        pattern: file.pattern.as_deref().and_then(|text| pattern(text, place, faults)),
        format: file.format.map(|format| format.model()),
        past_max: file.past_max.map(|span| span.0),
        future_max: file.future_max.map(|span| span.0),
    }
}

fn one_of(file: &ColumnFile, bare: &Type, place: &Place<'_>, faults: &mut Faults) -> Vec<serde_json::Value> {
    let Some(values) = &file.one_of else { return Vec::new() };
    if values.is_empty() {
        faults.add(place.at("enum"), "no value is allowed at all", "list the values that are allowed");
    }
    for (index, value) in values.iter().enumerate() {
        if let Err(message) = fit::value(value, bare, Default::default(), false) {
            let path = place.at(&format!("enum[{index}]"));
            faults.add(
                path,
                format!("the value does not fit {bare}: {message}"),
                "write values of the column's type; quote texts that look like numbers or booleans",
            );
        }
    }
    values.clone()
}

fn pattern(text: &str, place: &Place<'_>, faults: &mut Faults) -> Option<regex::Regex> {
    regex::RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let message = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            faults.add(
                place.at("pattern"),
                format!("the pattern is refused: {message}"),
                "write a regular expression without look-around and back references, in single quotes",
            );
        })
        .ok()
}

fn length(
    file: &ColumnFile,
    bare: &Type,
    place: &Place<'_>,
    faults: &mut Faults,
) -> (Option<usize>, Option<usize>) {
    let Some(length) = &file.length else { return (None, None) };
    if !matches!(bare, Type::String | Type::FixedString(_) | Type::Array(_) | Type::Map(..)) {
        faults.add(
            place.at("length"),
            format!("`length` does not go with {bare}"),
            "it is for String, FixedString, Array and Map",
        );
    }
    if let (Some(min), Some(max)) = (length.min, length.max)
        && min > max
    {
        faults.add(place.at("length"), format!("min {min} is larger than max {max}"), "swap them");
    }
    (length.min, length.max)
}

fn range(
    file: &ColumnFile,
    bare: &Type,
    place: &Place<'_>,
    faults: &mut Faults,
) -> (Option<String>, Option<String>) {
    let mut bound = |key: &str, scalar: &Option<Scalar>| {
        let value = scalar.as_ref()?.value();
        if !matches!(bare, Type::Int(_) | Type::Float32 | Type::Float64 | Type::Decimal { .. }) {
            let hint = match bare {
                Type::String | Type::FixedString(_) => "a text has a `length`",
                Type::Date | Type::Date32 | Type::DateTime { .. } | Type::DateTime64 { .. } => {
                    "a time has `past_max` and `future_max`"
                }
                _ => "it is for numbers",
            };
            faults.add(place.at(key), format!("`{key}` does not go with {bare}"), hint);
            return None;
        }
        let Some(number) = Decimal::of_value(&value) else {
            faults.add(
                place.at(key),
                format!("{value} is not a plain decimal number"),
                "write digits, in quotes when there are more than 15",
            );
            return None;
        };
        if let Type::Int(int) = bare
            && !number.fits_int(*int)
        {
            let (low, high) = int_bounds(*int);
            faults.add(
                place.at(key),
                format!("{number} is outside of {bare}"),
                format!("write a whole number from {low} to {high}"),
            );
        }
        Some(number)
    };
    let (min, max) = (bound("min", &file.min), bound("max", &file.max));
    if let (Some(min), Some(max)) = (&min, &max)
        && min > max
    {
        faults.add(place.at("min"), format!("min {min} is larger than max {max}"), "swap them");
    }
    (min.map(|number| number.to_string()), max.map(|number| number.to_string()))
}
