//! What each rule touches now, by partition: whole, in part, or not at all.
//!
//! Refuses to read what the server knows already: the youngest and oldest row of a partition come from its index where
//! the partition key is made of the time, and only partitions that a rule cuts through are counted row by row.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Error, Governed};
use crate::admin::desk::{Desk, Row};
use crate::clickhouse::quote_identifier;
use crate::schema::expression::columns;

/// One partition of a table that has rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    pub id: String,
    pub partition: String,
    pub rows: u64,
    pub bytes: u64,
    /// Rows past the age of each rule, in the order of the rules.
    pub past: Vec<u64>,
}

/// Every partition, oldest first, as things stand at that time.
pub async fn read(desk: &Desk, one: &Governed<'_>, now_s: u64) -> Result<Vec<Ages>, Error> {
    let sizes = sizes(desk, one).await?;
    let time = quote_identifier(&one.rules.time_column);
    let over = |of: &str| -> String {
        let due = one.rules.rules.iter().map(|rule| one.rules.due(of, rule.after));
        due.map(|due| format!(", {due} <= toDateTime({now_s})")).collect()
    };
    let sql = format!(
        "SELECT id, n{}{} FROM (SELECT _partition_id AS id, toUInt64(count()) AS n, min({time}) AS oldest, \
         max({time}) AS youngest FROM {} GROUP BY id) ORDER BY youngest, id",
        over("youngest"),
        over("oldest"),
        one.name.sql()
    );
    let count = one.rules.rules.len();
    let (mut all, mut cut): (Vec<Ages>, Vec<String>) = Default::default();
    for row in desk.rows(&sql, &[]).await? {
        let (id, rows) = (row.text(0), row.number(1));
        let past = |rule| if row.flag(2 + rule) { rows } else { 0 };
        if (0..count).any(|rule| row.flag(2 + count + rule) && !row.flag(2 + rule)) {
            cut.push(id.clone());
        }
        let (partition, bytes) = sizes.get(&id).cloned().unwrap_or_default();
        all.push(Ages { id, partition, rows, bytes, past: (0..count).map(past).collect() });
    }
    if !cut.is_empty() {
        count_rows(desk, one, &mut all, (&cut, now_s)).await?;
    }
    Ok(all)
}

async fn count_rows(
    desk: &Desk,
    one: &Governed<'_>,
    all: &mut [Ages],
    (cut, now_s): (&[String], u64),
) -> Result<(), Error> {
    let time = quote_identifier(&one.rules.time_column);
    let due = one.rules.rules.iter().map(|rule| one.rules.due(&time, rule.after));
    let counts: String =
        due.map(|due| format!(", toUInt64(countIf({due} <= toDateTime({now_s})))")).collect();
    let sql = format!(
        "SELECT _partition_id AS id{counts} FROM {} WHERE _partition_id IN {{ids:Array(String)}} GROUP BY id",
        one.name.sql()
    );
    for row in desk.rows(&sql, &[("ids", json!(cut))]).await? {
        if let Some(ages) = all.iter_mut().find(|ages| ages.id == row.text(0)) {
            ages.past = (0..ages.past.len()).map(|rule| row.number(1 + rule)).collect();
        }
    }
    Ok(())
}

/// Name and bytes of each partition, by id.
async fn sizes(desk: &Desk, one: &Governed<'_>) -> Result<BTreeMap<String, (String, u64)>, Error> {
    let sql = "SELECT partition_id, any(partition), sum(bytes_on_disk) FROM system.parts WHERE active \
               AND database = {database:String} AND table = {table:String} GROUP BY partition_id";
    let rows = desk.rows(sql, &one.name.params()).await?;
    Ok(rows.iter().map(|row: &Row| (row.text(0), (row.text(1), row.number(2)))).collect())
}

/// Whether the partition key is made of the column.
pub fn names(partition_key: &str, column: &str) -> bool {
    columns(partition_key).iter().any(|name| name == column)
}

/// Whether every row of the partition is past the age of the rule that deletes, looked at anew.
pub async fn is_over(desk: &Desk, one: &Governed<'_>, id: &str, now_s: u64) -> Result<bool, Error> {
    let Some(rule) = one.rules.delete() else { return Ok(false) };
    let time = quote_identifier(&one.rules.time_column);
    let due = one.rules.due(&format!("max({time})"), rule.after);
    let sql = format!(
        "SELECT count() > 0 AND {due} <= toDateTime({now_s}) FROM {} WHERE _partition_id = {{id:String}}",
        one.name.sql()
    );
    Ok(desk.row(&sql, &[("id", json!(id))]).await?.flag(0))
}
