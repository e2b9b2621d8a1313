//! Prints the statement that creates a table.
//!
//! Refuses to run it. Names and settings are quoted; engine, sorting and partition key are expressions
//! that the table file's author is trusted with (invariant I11).

use super::model::{Column, Table};
use super::print::{identifier, literal};

/// `CREATE TABLE`, without defaults: those of the table file are applied before a row is sent.
pub fn create_table(table: &Table, if_not_exists: bool) -> String {
    let guard = if if_not_exists { "IF NOT EXISTS " } else { "" };
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("    {}{}", definition(column), clearing(table, column)))
        .collect();
    let mut sql = format!(
        "CREATE TABLE {guard}{}\n(\n{}\n)\nENGINE = {}",
        qualified(table),
        columns.join(",\n"),
        table.engine
    );
    if let Some(partition_by) = &table.partition_by {
        sql.push_str(&format!("\nPARTITION BY {partition_by}"));
    }
    if !table.order_by.is_empty() {
        sql.push_str(&format!("\nORDER BY ({})", table.order_by.join(", ")));
    } else if table.engine.contains("MergeTree") {
        sql.push_str("\nORDER BY tuple()");
    }
    if let Some(ttl) = table.lifecycle.as_ref().and_then(|rules| rules.table_ttl(false)) {
        sql.push_str(&format!("\nTTL {ttl}"));
    }
    if !table.settings.is_empty() {
        let settings: Vec<String> =
            table.settings.iter().map(|(name, value)| format!("{name} = {}", literal(value))).collect();
        sql.push_str(&format!("\nSETTINGS {}", settings.join(", ")));
    }
    sql
}

/// When the column's values are cleared, as behind its type.
fn clearing(table: &Table, column: &Column) -> String {
    let ttl = table.lifecycle.as_ref().and_then(|rules| rules.column_ttl(&column.name, false));
    ttl.map(|ttl| format!(" TTL {ttl}")).unwrap_or_default()
}

/// The table's name, with its database when it has one, quoted.
pub fn qualified(table: &Table) -> String {
    match &table.database {
        Some(database) => format!("{}.{}", identifier(database), identifier(&table.name)),
        None => identifier(&table.name),
    }
}

/// Name and type of a column, as between the parentheses of `CREATE TABLE`.
pub fn definition(column: &Column) -> String {
    format!("{} {}", identifier(&column.name), column.ty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_statement_is_quoted_and_complete() {
        let text = r#"
table: "a`b"
database: d
topics: [t]
columns:
  - {name: "x\\y", type: Int8}
  - {name: n, type: "Nested(a Int8, b LowCardinality(String))", default: []}
  - {name: rest, type: JSON}
unknown_fields: {keep: rest}
engine: ReplacingMergeTree
order_by: [lower(rest.a), n.a]
partition_by: toYYYYMM(now())
settings: {index_granularity: 1024, storage_policy: "it's"}
"#;
        let table = crate::schema::parse_table(text, Path::new("t.yaml")).unwrap();
        assert_eq!(
            create_table(&table, true),
            r"CREATE TABLE IF NOT EXISTS `d`.`a\`b`
(
    `x\\y` Int8,
    `n` Nested(a Int8, b LowCardinality(String)),
    `rest` JSON
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(now())
ORDER BY (lower(rest.a), n.a)
SETTINGS index_granularity = '1024', storage_policy = 'it\'s'"
        );
        let text = "table: t\ntopics: [t]\ncolumns: [{name: a, type: Int8}]\norder_by: []\n";
        let table = crate::schema::parse_table(text, Path::new("t.yaml")).unwrap();
        let plain = "CREATE TABLE `t`\n(\n    `a` Int8\n)\nENGINE = MergeTree\nORDER BY tuple()";
        assert_eq!(create_table(&table, false), plain);
    }
}
