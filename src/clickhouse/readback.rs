//! Asks a table which rows of a range are in it: the proof of what landed where a token proves nothing.
//!
//! Refuses to know what the numbers mean: columns, values and half-open ranges are handed in. Counting comes
//! first, for it is cheap; the list is read only where something is missing.

use serde_json::json;

use super::error::Error;
use super::query::Params;
use super::{Client, sql};

/// Where rows are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The database; the client's own if none.
    pub database: Option<String>,
    pub table: String,
    /// Column and value that a row must have, if one table holds several of them.
    pub topic: Option<(String, String)>,
    /// Column and value that a row must have.
    pub partition: (String, i64),
    /// Column of the number that tells the rows of a partition apart.
    pub offset: String,
    pub freshness: Freshness,
}

/// Which of the acknowledged rows a reading must see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// Those that the server has that is asked: all of them, if it is the only one.
    #[default]
    Server,
    /// Those that any replica has that the asked one can learn of: it fetches before it answers
    /// (`SYSTEM SYNC REPLICA`, which needs the right to it).
    Synced,
    /// Those that were written with a quorum and without parallel quorums (`select_sequential_consistency`).
    Sequential,
}

/// How many rows of a range are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub rows: u64,
    /// Different offsets among them.
    pub distinct: u64,
}

impl Present {
    /// Whether just these many rows are there, each once.
    pub fn is_exactly(self, expected: u64) -> bool {
        self.rows == expected && self.distinct == expected
    }

    /// Rows that are there more than once.
    pub fn surplus(self) -> u64 {
        self.rows.saturating_sub(self.distinct)
    }
}

/// Those of the expected numbers that are not among the present ones. Both rise.
pub fn missing(present: &[i64], expected: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let mut present = present.iter().copied().peekable();
    let is_missing = |number: &i64| {
        while present.next_if(|found| found < number).is_some() {}
        present.peek() != Some(number)
    };
    expected.into_iter().filter(is_missing).collect()
}

impl Client {
    /// Counts the rows from `first` up to, and without, `next`. Cancel-safe.
    ///
    /// # Errors
    /// As [`Client::query`]; with [`Freshness::Synced`] also that the replica does not catch up in time.
    pub async fn present(&self, place: &Place, first: i64, next: i64) -> Result<Present, Error> {
        let select = "SELECT toUInt64(count()), toUInt64(uniqExact({offset:Identifier}))";
        let bytes = self.read_back(place, select, "", (first, next)).await?;
        match numbers(&bytes).as_deref() {
            Some([rows, distinct]) => {
                Ok(Present { rows: rows.cast_unsigned(), distinct: distinct.cast_unsigned() })
            }
            _ => Err(unreadable("two counts")),
        }
    }

    /// The different numbers in the column `offset` from `first` up to, and without, `next`, rising. At most
    /// as many as the range is long; a result above `result_bytes_max` is refused. Cancel-safe.
    ///
    /// # Errors
    /// As [`Client::present`].
    pub async fn offsets(&self, place: &Place, first: i64, next: i64) -> Result<Vec<i64>, Error> {
        let select = "SELECT DISTINCT toInt64({offset:Identifier})";
        let bytes = self.read_back(place, select, " ORDER BY 1", (first, next)).await?;
        let offsets = numbers(&bytes).ok_or_else(|| unreadable("whole numbers"))?;
        let rising = offsets.is_sorted_by(|one, other| one < other);
        if rising && offsets.iter().all(|offset| (first..next).contains(offset)) {
            Ok(offsets)
        } else {
            Err(unreadable("rising numbers of the range"))
        }
    }

    /// Whether an insert whose query ids begin like this is running. Cancel-safe.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn is_running(&self, query_id_prefix: &str) -> Result<bool, Error> {
        let sql =
            "SELECT toUInt64(count()) FROM system.processes WHERE startsWith(query_id, {prefix:String})";
        let bytes = self.read(None, sql, &[("prefix", json!(query_id_prefix))], "RowBinary").await?.0;
        match numbers(&bytes).as_deref() {
            Some([running]) => Ok(0 < *running),
            _ => Err(unreadable("a count")),
        }
    }

    async fn read_back(
        &self,
        place: &Place,
        select: &str,
        order: &str,
        (first, next): (i64, i64),
    ) -> Result<bytes::Bytes, Error> {
        let (topic_column, topic) = place.topic.as_ref().map_or(("", ""), |(c, v)| (c.as_str(), v.as_str()));
        let (partition_column, partition) = &place.partition;
        let params: Params<'_> = &[
            ("database", json!(place.database)),
            ("table", json!(place.table)),
            ("topic_column", json!(topic_column)),
            ("topic", json!(topic)),
            ("partition_column", json!(partition_column)),
            ("partition", json!(partition)),
            ("offset", json!(place.offset)),
            ("first", json!(first)),
            ("next", json!(next)),
        ];
        let from = if place.database.is_some() {
            "{database:Identifier}.{table:Identifier}"
        } else {
            "{table:Identifier}"
        };
        let of_topic =
            if place.topic.is_some() { " AND {topic_column:Identifier} = {topic:String}" } else { "" };
        let settings = match place.freshness {
            Freshness::Sequential => " SETTINGS select_sequential_consistency = 1",
            Freshness::Server | Freshness::Synced => "",
        };
        let sql = format!(
            "{select} FROM {from} WHERE {{partition_column:Identifier}} = {{partition:Int64}} \
             AND {{offset:Identifier}} >= {{first:Int64}} AND {{offset:Identifier}} < {{next:Int64}}{of_topic}{order}{settings}"
        );
        let sync = (place.freshness == Freshness::Synced).then(|| {
            let table = sql::qualified(place.database.as_deref(), &place.table);
            format!("SYSTEM SYNC REPLICA {table} LIGHTWEIGHT")
        });
        Ok(self.read(sync.as_deref(), &sql, params, "RowBinary").await?.0)
    }
}

fn unreadable(expected: &str) -> Error {
    Error::Answer { endpoint: "the server".to_owned(), message: format!("{expected} were asked for") }
}

/// The format RowBinary of columns of eight bytes.
fn numbers(bytes: &[u8]) -> Option<Vec<i64>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| numbers.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_found_by_walking_both() {
        assert_eq!(missing(&[1, 2, 5], 0..7), [0, 3, 4, 6]);
        assert_eq!(missing(&[], [3, 9]), [3, 9]);
        assert_eq!(missing(&[1, 4, 9], [4, 9]), [0_i64; 0]);
        assert_eq!(missing(&[1, 4], [2, 4, 8]), [2, 8]);
    }

    #[test]
    fn counts_tell_holes_and_doubles() {
        assert!(Present { rows: 3, distinct: 3 }.is_exactly(3));
        let doubled = Present { rows: 5, distinct: 3 };
        assert!(!doubled.is_exactly(5) && !doubled.is_exactly(3));
        assert_eq!(doubled.surplus(), 2);
        assert_eq!(
            numbers(&[1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
            Some(vec![1, -1])
        );
        assert_eq!(numbers(&[1, 2, 3]), None);
    }
}
