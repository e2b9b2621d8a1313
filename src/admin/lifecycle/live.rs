//! The TTL that a live table has, and the statements that would bring it to what is wanted.
//!
//! Refuses to compare spellings: the server itself says whether two TTLs are written the same. Statements change
//! metadata only; parts that are there keep their dates until they are merged for another reason.

use serde_json::json;

use super::{Error, Governed};
use crate::admin::desk::{Desk, TableName};
use crate::admin::migrate::definition::Definition;
use crate::clickhouse::quote_identifier;
use crate::schema::lifecycle::ttl_of;

/// Under which a change of TTL rewrites nothing.
pub const METADATA_ONLY: [(&str, &str); 1] = [("materialize_ttl_after_modify", "0")];

/// What the server says of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub partition_key: String,
    pub ttl: Option<String>,
    /// Columns with a TTL of their own.
    pub columns: Vec<(String, String)>,
}

/// None if there is no such table.
pub async fn read(desk: &Desk, table: &TableName) -> Result<Option<Live>, Error> {
    let sql = "SELECT engine_full, create_table_query, partition_key FROM system.tables \
               WHERE database = {database:String} AND name = {table:String}";
    let rows = desk.rows(sql, &table.params()).await?;
    Ok(rows.first().map(|row| {
        let definition = Definition::parse(&row.text(1), &table.database);
        let columns = definition.items.iter().filter(|item| item.what == "COLUMN");
        // A column's own stands last in its definition, but for settings.
        let columns = columns.filter_map(|item| Some((item.name.clone(), ttl_of(&item.text)?.to_owned())));
        Live {
            partition_key: row.text(2),
            ttl: ttl_of(&row.text(0)).map(ToOwned::to_owned),
            columns: columns.collect(),
        }
    }))
}

/// Statements under which the table has the TTL of its rules.
pub async fn statements(
    desk: &Desk,
    one: &Governed<'_>,
    live: &Live,
    held: bool,
) -> Result<Vec<String>, Error> {
    let table = one.name.sql();
    let mut all = Vec::new();
    match (one.rules.table_ttl(held), &live.ttl) {
        (None, None) => {}
        (None, Some(_)) => all.push(format!("ALTER TABLE {table} REMOVE TTL")),
        (Some(wanted), Some(found)) if same(desk, &wanted, found).await? => {}
        (Some(wanted), _) => all.push(format!("ALTER TABLE {table} MODIFY TTL {wanted}")),
    }
    for column in &one.table.columns {
        let name = quote_identifier(&column.name);
        let found = live.columns.iter().find(|(name, _)| *name == column.name).map(|(_, ttl)| ttl);
        match (one.rules.column_ttl(&column.name, held), found) {
            (None, None) => {}
            (None, Some(_)) => all.push(format!("ALTER TABLE {table} MODIFY COLUMN {name} REMOVE TTL")),
            (Some(wanted), Some(found)) if same(desk, &wanted, found).await? => {}
            (Some(wanted), _) => all.push(format!("ALTER TABLE {table} MODIFY COLUMN {name} TTL {wanted}")),
        }
    }
    Ok(all)
}

/// Whether the server writes both the same.
async fn same(desk: &Desk, one: &str, other: &str) -> Result<bool, Error> {
    if one == other {
        return Ok(true);
    }
    let sql = "SELECT formatQuerySingleLine(concat('ALTER TABLE t MODIFY TTL ', {one:String})) \
               = formatQuerySingleLine(concat('ALTER TABLE t MODIFY TTL ', {other:String}))";
    Ok(desk.row(sql, &[("one", json!(one)), ("other", json!(other))]).await?.flag(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ttl_of_a_column_ends_before_its_settings() {
        for (text, expected) in [
            (
                "`email` String CODEC(ZSTD(1)) TTL toDateTime(time) + toIntervalDay(10)",
                Some("toDateTime(time) + toIntervalDay(10)"),
            ),
            (
                "`a` String TTL d + toIntervalDay(1) SETTINGS (max_compress_block_size = 1)",
                Some("d + toIntervalDay(1)"),
            ),
            ("`TTL` String DEFAULT 'TTL x'", None),
        ] {
            assert_eq!(ttl_of(text), expected, "{text}");
        }
    }
}
