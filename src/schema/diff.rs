//! Compares a table file with the table that lives in ClickHouse.
//!
//! Refuses to query anything: it is given what the system tables say. Every difference says whether
//! rows can still be inserted without harm, and how it can be mended.

use std::fmt;

use super::ddl::qualified;
use super::lifecycle;
use super::model::{Column, Field, Int, Table, Type};
use super::print::identifier;

/// A row of `system.columns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveColumn {
    pub name: String,
    pub ty: String,
    /// Empty, `DEFAULT`, `MATERIALIZED`, `ALIAS` or `EPHEMERAL`.
    pub default_kind: String,
}

/// What `system.tables` and `system.columns` say of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTable {
    pub columns: Vec<LiveColumn>,
    pub engine: String,
    pub sorting_key: String,
    pub partition_key: String,
    /// Engine, keys, TTL and settings as one text.
    pub engine_full: String,
}

/// How a difference bears on inserting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Rows can be inserted; someone should look at it.
    Warns,
    /// Rows would be refused or changed.
    Blocks,
}

/// One way in which the live table differs. `sql` is the statement that would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    MissingColumn {
        name: String,
        ty: String,
        sql: String,
    },
    /// Harmless when ClickHouse has a default or NULL for it, else it fills in the type's zero.
    ExtraColumn {
        name: String,
        ty: String,
        harmless: bool,
    },
    /// Harmless when every value of the file's type arrives unchanged.
    TypeDiffers {
        name: String,
        expected: String,
        live: String,
        harmless: bool,
        sql: String,
    },
    /// The live column is computed by ClickHouse and takes no value from an INSERT.
    NotInsertable {
        name: String,
        default_kind: String,
    },
    EngineDiffers {
        expected: String,
        live: String,
        merges_rows: bool,
    },
    SortingKeyDiffers {
        expected: String,
        live: String,
    },
    PartitionKeyDiffers {
        expected: String,
        live: String,
    },
    /// Of a table whose file has a section `lifecycle`.
    TtlDiffers {
        expected: String,
        live: String,
    },
}

impl Difference {
    pub fn severity(&self) -> Severity {
        match self {
            Difference::MissingColumn { .. } | Difference::NotInsertable { .. } => Severity::Blocks,
            Difference::TypeDiffers { harmless: false, .. } => Severity::Blocks,
            Difference::EngineDiffers { merges_rows: true, .. } => Severity::Blocks,
            _ => Severity::Warns,
        }
    }

    /// The statement that would make the live table as the file says; `None` where none can.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Difference::MissingColumn { sql, .. } | Difference::TypeDiffers { sql, .. } => Some(sql.clone()),
            _ => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::MissingColumn { name, ty, .. } => {
                write!(f, "the live table has no column `{name}` of type {ty}")
            }
            Difference::ExtraColumn { name, ty, harmless: true } => {
                write!(f, "the live table has a column `{name}` of type {ty} more, which fills itself")
            }
            Difference::ExtraColumn { name, ty, harmless: false } => write!(
                f,
                "the live table has a column `{name}` of type {ty} more, which gets the type's zero in every row"
            ),
            Difference::TypeDiffers { name, expected, live, harmless, .. } => {
                let effect =
                    if *harmless { "which holds every value" } else { "which can refuse or change values" };
                write!(f, "the column `{name}` is {live} in the live table instead of {expected}, {effect}")
            }
            Difference::NotInsertable { name, default_kind } => {
                write!(f, "the column `{name}` is {default_kind} in the live table and takes no values")
            }
            Difference::EngineDiffers { expected, live, merges_rows } => {
                let effect = if *merges_rows { ", which merges rows away" } else { "" };
                write!(f, "the live table's engine is {live} instead of {expected}{effect}")
            }
            Difference::SortingKeyDiffers { expected, live } => {
                write!(f, "the live table is sorted by ({live}) instead of ({expected})")
            }
            Difference::PartitionKeyDiffers { expected, live } => {
                write!(f, "the live table's partition key is ({live}) instead of ({expected})")
            }
            Difference::TtlDiffers { expected, live } => write!(
                f,
                "the live table's TTL is ({live}) instead of ({expected}); `penstock lifecycle plan` tells how it is mended"
            ),
        }
    }
}

/// Every difference, in the order of the file's columns, then the live table's own, then the keys.
pub fn compare(table: &Table, live: &LiveTable) -> Vec<Difference> {
    let mut differences = Vec::new();
    let expected: Vec<(String, Type)> =
        table.columns.iter().flat_map(|column| flattened(column, live)).collect();
    for (name, ty) in &expected {
        differences.extend(match live.columns.iter().find(|column| column.name == *name) {
            Some(column) => column_differs(table, name, ty, column),
            None => Some(Difference::MissingColumn {
                name: name.clone(),
                ty: ty.to_string(),
                sql: format!("ALTER TABLE {} ADD COLUMN {} {ty}", qualified(table), identifier(name)),
            }),
        });
    }
    for column in live.columns.iter().filter(|column| expected.iter().all(|(name, _)| *name != column.name)) {
        let nullable = column.ty.parse::<Type>().is_ok_and(|ty| ty.is_nullable());
        differences.push(Difference::ExtraColumn {
            name: column.name.clone(),
            ty: column.ty.clone(),
            harmless: nullable || !column.default_kind.is_empty(),
        });
    }
    differences.extend(table_differs(table, live));
    differences
}

/// The column as ClickHouse stores it: a Nested as one array per field, unless it was kept whole.
fn flattened(column: &Column, live: &LiveTable) -> Vec<(String, Type)> {
    let whole = live.columns.iter().any(|live| live.name == column.name);
    match &column.ty {
        Type::Nested(fields) if !whole => fields
            .iter()
            .map(|field| {
                let name = field.name.as_deref().unwrap_or_default();
                (format!("{}.{name}", column.name), Type::Array(Box::new(field.ty.clone())))
            })
            .collect(),
        ty => vec![(column.name.clone(), ty.clone())],
    }
}

fn column_differs(table: &Table, name: &str, ty: &Type, live: &LiveColumn) -> Option<Difference> {
    if matches!(live.default_kind.as_str(), "MATERIALIZED" | "ALIAS" | "EPHEMERAL") {
        return Some(Difference::NotInsertable {
            name: name.to_owned(),
            default_kind: live.default_kind.clone(),
        });
    }
    let parsed = live.ty.parse::<Type>();
    if parsed.as_ref().is_ok_and(|parsed| parsed == ty) || live.ty == ty.to_string() {
        return None;
    }
    let harmless = match &parsed {
        Ok(parsed) => holds_all(ty, parsed),
        // Types that are not for table files, such as LowCardinality(UInt32) or JSON with arguments.
        Err(_) => match live.ty.strip_prefix("LowCardinality(").and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => inner.parse().is_ok_and(|inner| holds_all(ty, &inner)),
            None => matches!(ty, Type::Json) && live.ty.starts_with("JSON("),
        },
    };
    Some(Difference::TypeDiffers {
        name: name.to_owned(),
        expected: ty.to_string(),
        live: live.ty.clone(),
        harmless,
        sql: format!("ALTER TABLE {} MODIFY COLUMN {} {ty}", qualified(table), identifier(name)),
    })
}

/// Whether every value of `ours` arrives unchanged in `live`, since the server converts what is sent.
fn holds_all(ours: &Type, live: &Type) -> bool {
    match (ours, live) {
        (Type::LowCardinality(ours), live) => holds_all(ours, live),
        (ours, Type::LowCardinality(live)) => holds_all(ours, live),
        (Type::Nullable(ours), Type::Nullable(live)) => holds_all(ours, live),
        (Type::Nullable(_), _) => false,
        (ours, Type::Nullable(live)) => holds_all(ours, live),
        (Type::Int(ours), Type::Int(live)) => int_holds(*ours, *live),
        (Type::Float32, Type::Float64) => true,
        (Type::Date, Type::Date32) => true,
        (Type::DateTime { .. }, Type::DateTime { .. }) => true,
        (Type::DateTime64 { precision: ours, .. }, Type::DateTime64 { precision: live, .. }) => ours == live,
        (Type::Enum8(ours), Type::Enum8(live) | Type::Enum16(live))
        | (Type::Enum16(ours), Type::Enum16(live)) => ours.iter().all(|member| live.contains(member)),
        (Type::Array(ours), Type::Array(live)) => holds_all(ours, live),
        (Type::Map(key, value), Type::Map(live_key, live_value)) => {
            holds_all(key, live_key) && holds_all(value, live_value)
        }
        (Type::Tuple(ours), Type::Tuple(live)) | (Type::Nested(ours), Type::Nested(live)) => {
            fields_hold(ours, live)
        }
        (ours, live) => ours == live,
    }
}

fn int_holds(ours: Int, live: Int) -> bool {
    (ours.signed == live.signed && ours.bits <= live.bits)
        || (!ours.signed && live.signed && ours.bits < live.bits)
}

fn fields_hold(ours: &[Field], live: &[Field]) -> bool {
    ours.len() == live.len()
        && ours.iter().zip(live).all(|(ours, live)| ours.name == live.name && holds_all(&ours.ty, &live.ty))
}

fn table_differs(table: &Table, live: &LiveTable) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (expected, found) = (family(&table.engine), family(&live.engine));
    if expected != found {
        let merges_rows = found.ends_with("MergeTree") && found != "MergeTree";
        differences.push(Difference::EngineDiffers {
            expected: table.engine.clone(),
            live: live.engine.clone(),
            merges_rows,
        });
    }
    let (expected, found) = (table.order_by.join(", "), live.sorting_key.clone());
    if plain(&expected) != plain(&found) {
        differences.push(Difference::SortingKeyDiffers { expected, live: found });
    }
    let (expected, found) = (table.partition_by.clone().unwrap_or_default(), live.partition_key.clone());
    if plain(&expected) != plain(&found) {
        differences.push(Difference::PartitionKeyDiffers { expected, live: found });
    }
    if let Some(rules) = &table.lifecycle {
        let expected = rules.table_ttl(false).unwrap_or_default();
        let found = lifecycle::ttl_of(&live.engine_full).unwrap_or_default().to_owned();
        if lifecycle::plain(&expected) != lifecycle::plain(&found) {
            differences.push(Difference::TtlDiffers { expected, live: found });
        }
    }
    differences
}

/// The engine's name without arguments; how it is replicated is the cluster's business.
fn family(engine: &str) -> &str {
    let name = engine.split(['(', ' ']).next().unwrap_or_default();
    name.strip_prefix("Replicated").or_else(|| name.strip_prefix("Shared")).unwrap_or(name)
}

/// A key expression without what only its spelling can differ in.
fn plain(expression: &str) -> String {
    let bare: String = expression.chars().filter(|c| !c.is_whitespace() && *c != '`').collect();
    let inner = bare.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    match inner {
        Some(inner) if !inner.contains(['(', ')']) => inner.to_owned(),
        _ if bare == "tuple()" => String::new(),
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn live(columns: &[(&str, &str, &str)]) -> LiveTable {
        let columns = columns.iter().map(|(name, ty, kind)| LiveColumn {
            name: (*name).to_owned(),
            ty: (*ty).to_owned(),
            default_kind: (*kind).to_owned(),
        });
        LiveTable {
            columns: columns.collect(),
            engine: "SharedMergeTree".to_owned(),
            sorting_key: "a, lower(s)".to_owned(),
            partition_key: String::new(),
            engine_full: "SharedMergeTree ORDER BY (a, lower(s)) TTL t + toIntervalDay(3) SETTINGS x = 1"
                .to_owned(),
        }
    }

    fn table() -> Table {
        let text = "table: t\ntopics: [t]\norder_by: [a, 'lower( s )']\ncolumns: [{name: a, type: Int32}, \
                    {name: s, type: LowCardinality(String)}, {name: n, type: 'Nested(x Int8)', default: []}]\n";
        crate::schema::parse_table(text, Path::new("t.yaml")).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_equal_table_has_no_differences() {
        let equal =
            live(&[("a", "Int32", ""), ("s", "LowCardinality(String)", ""), ("n.x", "Array(Int8)", "")]);
        assert_eq!(compare(&table(), &equal), []);
        let whole = live(&[
            ("a", "Int32", "DEFAULT"),
            ("s", "LowCardinality(String)", ""),
            ("n", "Nested(x Int8)", ""),
        ]);
        assert_eq!(compare(&table(), &whole), []);
    }

    #[test]
    fn differences_say_severity_and_remedy() {
        let mut found =
            live(&[("a", "Int16", ""), ("s", "String", ""), ("m", "DateTime", "DEFAULT"), ("z", "Int8", "")]);
        found.engine = "ReplacingMergeTree".to_owned();
        found.sorting_key = "s".to_owned();
        found.partition_key = "a".to_owned();
        let found = compare(&table(), &found);
        let told: Vec<(Severity, String, Option<String>)> =
            found.iter().map(|one| (one.severity(), one.to_string(), one.remedy())).collect();
        let parts = [
            (Severity::Blocks, "`a` is Int16", Some("ALTER TABLE `t` MODIFY COLUMN `a` Int32")),
            (
                Severity::Warns,
                "`s` is String",
                Some("ALTER TABLE `t` MODIFY COLUMN `s` LowCardinality(String)"),
            ),
            (Severity::Blocks, "no column `n.x`", Some("ALTER TABLE `t` ADD COLUMN `n.x` Array(Int8)")),
            (Severity::Warns, "fills itself", None),
            (Severity::Warns, "zero in every row", None),
            (Severity::Blocks, "merges rows away", None),
            (Severity::Warns, "sorted by (s)", None),
            (Severity::Warns, "partition key is (a)", None),
        ];
        assert_eq!(told.len(), parts.len(), "{told:#?}");
        for ((severity, text, remedy), (expected, part, sql)) in told.iter().zip(parts) {
            assert!(
                *severity == expected && text.contains(part) && remedy.as_deref() == sql,
                "{text} {remedy:?}"
            );
        }
    }

    #[test]
    fn the_ttl_of_a_lifecycle_is_compared_and_any_other_is_not() {
        let mut table = table();
        let live =
            live(&[("a", "Int32", ""), ("s", "LowCardinality(String)", ""), ("n.x", "Array(Int8)", "")]);
        assert_eq!(compare(&table, &live), [], "a TTL from elsewhere is none of ours");
        let rule = |days: u64| lifecycle::Rule {
            after: crate::units::Span::secs(days * 86_400),
            action: lifecycle::Action::Delete,
        };
        for (days, same) in [(3, true), (4, false)] {
            table.lifecycle = Some(lifecycle::Lifecycle {
                time_column: "t".to_owned(),
                counts_days: true,
                min_retention: None,
                method: lifecycle::Method::Ttl,
                rules: vec![rule(days)],
            });
            let found = compare(&table, &live);
            assert_eq!(found.is_empty(), same, "{found:?}");
            assert!(
                found.iter().all(
                    |one| one.severity() == Severity::Warns && one.to_string().contains("lifecycle plan")
                )
            );
        }
    }

    #[test]
    fn wider_is_harmless_and_narrower_is_not() {
        for (ours, live, expected) in [
            ("Int8", "Int64", true),
            ("UInt8", "Int16", true),
            ("UInt16", "Int16", false),
            ("Int64", "Int32", false),
            ("String", "Nullable(String)", true),
            ("Nullable(String)", "String", false),
            ("LowCardinality(Nullable(String))", "Nullable(String)", true),
            ("UInt32", "LowCardinality(UInt32)", true),
            ("DateTime64(3)", "DateTime64(3, 'UTC')", true),
            ("DateTime64(6)", "DateTime64(3)", false),
            ("Enum8('a' = 1)", "Enum8('a' = 1, 'b' = 2)", true),
            ("Enum8('a' = 1, 'b' = 2)", "Enum8('a' = 1)", false),
            ("Map(String, LowCardinality(String))", "Map(LowCardinality(String), String)", true),
            ("JSON", "JSON(max_dynamic_paths=8)", true),
            ("String", "AggregateFunction(sum, Int8)", false),
        ] {
            let column =
                LiveColumn { name: "c".to_owned(), ty: live.to_owned(), default_kind: String::new() };
            let differs = column_differs(&table(), "c", &ours.parse().unwrap(), &column);
            let harmless = matches!(differs, Some(Difference::TypeDiffers { harmless: true, .. }));
            assert!(differs.is_some() && harmless == expected, "{ours} in {live}: {differs:?}");
        }
    }
}
