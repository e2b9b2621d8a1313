//! What an insert sends: its statement, and its body once and for all attempts.
//!
//! Refuses to send. Every attempt takes the same bytes from here (invariant I3). Names and types stand in the
//! statement as quoted tokens (I11).

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::Bytes;

use super::config::{Compression, Format};
use super::error::Error;
use super::insert::Insert;
use super::{body, native, sql, transport};

/// The parameter of the statement that says until when the server may begin.
pub const BEGIN: &str = "begin_before";

/// What the server says when an attempt comes after its deadline.
pub const DEADLINE_MESSAGE: &str = "penstock deadline";

/// Longest statement in the address; proxies refuse more than 8 KiB of it, settings included.
const STATEMENT_BYTES_MAX: usize = 4096;

/// The server reads no longer statements unless told so; its default is twice this.
const QUERY_BYTES_USUAL: usize = 128 * 1024;

/// The parts of an insert that stay the same in every attempt.
pub struct Request {
    /// The statement, unless it is so long that it stands at the head of the body.
    pub statement: Option<String>,
    /// Compressed as the client is configured.
    pub body: Bytes,
    /// Bytes of the rows before compression.
    pub bytes_raw: u64,
    /// For a statement above what servers read by default.
    pub query_bytes_max: Option<usize>,
}

impl Request {
    /// Encodes and compresses on a thread where that holds up nobody.
    ///
    /// # Errors
    /// A batch that does not fit its own schema.
    pub async fn new(insert: &Insert, encoding: (Format, Compression)) -> Result<Request, Error> {
        let (statement, batch) = (statement(insert, encoding.0)?, insert.batch.clone());
        let encoding = tokio::task::spawn_blocking(move || encode(statement, &batch, encoding));
        // Only the end of the runtime cancels it.
        encoding.await.map_err(|_| Error::Closed)?
    }
}

fn encode(statement: String, batch: &RecordBatch, encoding: (Format, Compression)) -> Result<Request, Error> {
    let query_bytes_max = (QUERY_BYTES_USUAL < statement.len()).then(|| statement.len().saturating_mul(2));
    let in_address = transport::encoded_len(&statement) <= STATEMENT_BYTES_MAX;
    // At the head of the body the data begins on the next line.
    let head = if in_address { String::new() } else { format!("{statement}\n") };
    let body = body::encode(head.as_bytes(), batch, encoding)?;
    let statement = in_address.then_some(statement);
    Ok(Request { statement, body: body.bytes, bytes_raw: body.raw_bytes, query_bytes_max })
}

/// The INSERT. With a deadline the rows pass a condition that the server works out once, before the first
/// row: it lets all of them through or throws.
fn statement(insert: &Insert, format: Format) -> Result<String, Error> {
    let format = format.name();
    let schema = insert.batch.schema_ref();
    let columns: Vec<String> = schema.fields().iter().map(|f| sql::quote_identifier(f.name())).collect();
    let target = sql::qualified(insert.database.as_deref(), &insert.table);
    let head = format!("INSERT INTO {target} ({})", columns.join(", "));
    Ok(match insert.begin_before {
        None => format!("{head} FORMAT {format}"),
        Some(_) => format!(
            "{head} SELECT * FROM input({}) WHERE NOT throwIf(now() > toDateTime({{{BEGIN}:UInt32}}), {}) FORMAT {format}",
            sql::quote_string(&structure(schema)?),
            sql::quote_string(DEADLINE_MESSAGE),
        ),
    })
}

/// The columns of the body with their types on the wire; the server converts them to those of the table.
fn structure(schema: &Schema) -> Result<String, native::Error> {
    let column = |field: &std::sync::Arc<arrow_schema::Field>| {
        Ok(format!("{} {}", sql::quote_identifier(field.name()), native::type_name(field)?))
    };
    let columns: Result<Vec<String>, native::Error> = schema.fields().iter().map(column).collect();
    Ok(columns?.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int8Array};
    use arrow_schema::{DataType, Field};

    use super::*;

    fn insert(columns: usize) -> Insert {
        let metadata = HashMap::from([("clickhouse.type".to_owned(), "Enum8('it\\'s' = 1)".to_owned())]);
        let fields: Vec<Field> = (0..columns)
            .map(|n| Field::new(format!("c`{n}"), DataType::Int8, false).with_metadata(metadata.clone()))
            .collect();
        let arrays = (0..columns).map(|_| Arc::new(Int8Array::from(vec![1])) as ArrayRef).collect();
        Insert {
            database: Some("d".to_owned()),
            table: "t".to_owned(),
            batch: RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap(),
            ..Insert::default()
        }
    }

    #[test]
    fn names_and_types_stand_in_the_statement_as_they_are_meant() {
        assert_eq!(
            statement(&insert(1), Format::Native).unwrap(),
            r"INSERT INTO `d`.`t` (`c\`0`) FORMAT Native"
        );
        let late = Insert { begin_before: Some(tokio::time::Instant::now()), ..insert(1) };
        let text = r"INSERT INTO `d`.`t` (`c\`0`) SELECT * FROM input('`c\\`0` Enum8(\'it\\\'s\' = 1)') WHERE NOT throwIf(now() > toDateTime({begin_before:UInt32}), 'penstock deadline') FORMAT Native";
        assert_eq!(statement(&late, Format::Native).unwrap(), text);
    }

    #[tokio::test]
    async fn a_long_statement_heads_the_body() {
        let short = Request::new(&insert(1), (Format::Native, Compression::None)).await.unwrap();
        assert!(short.statement.is_some() && short.query_bytes_max.is_none());
        let long = Request::new(&insert(20_000), (Format::Native, Compression::None)).await.unwrap();
        assert!(long.statement.is_none() && long.body.starts_with(b"INSERT INTO `d`.`t` (`c\\`0`, "));
        assert!(long.query_bytes_max.is_some());
        let data = native::encode(&insert(20_000).batch).unwrap();
        assert!(long.body.ends_with(&[b" FORMAT Native\n", data.as_ref()].concat()));
        assert_eq!(long.bytes_raw, u64::try_from(data.len()).unwrap());
    }
}
