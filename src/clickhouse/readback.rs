//! Counting in a table what came from a range of offsets.
//!
//! Refuses to know what the offsets are of. It reads what the endpoint that answers has; of replicated tables
//! that may be less than what was acknowledged elsewhere.

use serde_json::{Value, json};

use super::{Client, Error, sql};

/// Where rows of one source lie: its table, and the columns that say where each row came from.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The client's own if none.
    pub database: Option<String>,
    pub table: String,
    /// Column and value, where one table takes several topics.
    pub topic: Option<(String, String)>,
    pub partition: (String, i64),
    /// The column that holds the offset.
    pub offset: String,
}

/// How much of a range is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    pub rows: u64,
    /// Different offsets among them.
    pub distinct: u64,
}

impl Client {
    /// Counts the rows whose offset lies in `[first, next)`. Cancel-safe.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn present(&self, place: &Place, first: i64, next: i64) -> Result<Present, Error> {
        let offset = sql::quote_identifier(&place.offset);
        let found = self.query_place(place, &format!("count(), uniqExact({offset})"), first, next).await?;
        let row = found.first().map(Vec::as_slice).unwrap_or_default();
        let number = |index: usize| row.get(index).and_then(number).and_then(|n| u64::try_from(n).ok());
        match (number(0), number(1)) {
            (Some(rows), Some(distinct)) => Ok(Present { rows, distinct }),
            _ => Err(unreadable()),
        }
    }

    /// The different offsets in `[first, next)` that are there, rising; never more than the range is long.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn offsets(&self, place: &Place, first: i64, next: i64) -> Result<Vec<i64>, Error> {
        let offset = sql::quote_identifier(&place.offset);
        let what = format!("DISTINCT {offset} AS o");
        let found = self.query_place(place, &what, first, next).await?;
        let mut all = Vec::with_capacity(found.len());
        for row in &found {
            all.push(row.first().and_then(number).ok_or_else(unreadable)?);
        }
        all.sort_unstable();
        Ok(all)
    }

    async fn query_place(
        &self,
        place: &Place,
        what: &str,
        first: i64,
        next: i64,
    ) -> Result<Vec<Vec<Value>>, Error> {
        let mut table = place.database.as_deref().map(sql::quote_identifier).unwrap_or_default();
        if !table.is_empty() {
            table.push('.');
        }
        table.push_str(&sql::quote_identifier(&place.table));
        let offset = sql::quote_identifier(&place.offset);
        let mut text = format!(
            "SELECT {what} FROM {table} WHERE {} = {{partition:Int64}} \
             AND {offset} >= {{first:Int64}} AND {offset} < {{next:Int64}}",
            sql::quote_identifier(&place.partition.0)
        );
        let mut params =
            vec![("partition", json!(place.partition.1)), ("first", json!(first)), ("next", json!(next))];
        if let Some((column, topic)) = &place.topic {
            text.push_str(&format!(" AND {} = {{topic:String}}", sql::quote_identifier(column)));
            params.push(("topic", json!(topic)));
        }
        Ok(self.query(&text, &params).await?.rows)
    }
}

/// 64-bit numbers come as text or as numbers, as the server is set.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn unreadable() -> Error {
    Error::Answer { endpoint: "the table".to_owned(), message: "a count is no number".to_owned() }
}
