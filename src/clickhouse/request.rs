//! What an insert sends: its statement, and its body once and for all attempts.
//!
//! Refuses to send. Every attempt takes the same bytes from here (invariant I3). Names and types stand in the
//! statement as quoted tokens (I11).

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;

use super::config::{Compression, Format};
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
#[derive(Debug)]
pub struct Request {
    statement: String,
    encoding: (Format, Compression),
    /// Whether the statement stands at the head of the body, for the address is too short for it.
    is_head: bool,
    /// Compressed as the client is configured.
    pub body: Bytes,
    /// Bytes of the rows before compression.
    pub bytes_raw: u64,
}

impl Request {
    /// Encodes and compresses; lets go of the batch on the way.
    ///
    /// # Errors
    /// A batch that does not fit its own schema.
    pub fn new(
        statement: &str,
        batch: RecordBatch,
        encoding: (Format, Compression),
    ) -> Result<Request, native::Error> {
        let is_head = STATEMENT_BYTES_MAX < transport::encoded_len(statement);
        let head = if is_head { head(statement) } else { String::new() };
        let body = body::encode(head.as_bytes(), batch, encoding)?;
        let statement = statement.to_owned();
        Ok(Request { statement, encoding, is_head, body: body.bytes, bytes_raw: body.raw_bytes })
    }

    /// Whether it is what this statement sends in this encoding.
    pub fn sends(&self, statement: &str, encoding: (Format, Compression)) -> bool {
        self.encoding == encoding && self.statement == statement
    }

    /// The statement, where it goes in the address.
    pub fn statement(&self) -> Option<&str> {
        (!self.is_head).then_some(self.statement.as_str())
    }

    /// For a statement above what servers read by default.
    pub fn query_bytes_max(&self) -> Option<usize> {
        (QUERY_BYTES_USUAL < self.statement.len()).then(|| self.statement.len().saturating_mul(2))
    }

    /// The rows read back out of the body.
    ///
    /// # Errors
    /// They were of another schema, or went as a stream of Arrow.
    pub fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, native::Error> {
        let head_bytes = if self.is_head { head(&self.statement).len() } else { 0 };
        body::decode(&self.body, head_bytes, schema, self.encoding.1)
    }
}

/// At the head of the body the data begins on the next line.
fn head(statement: &str) -> String {
    format!("{statement}\n")
}

/// The INSERT. With a deadline the rows pass a condition that the server works out once, before the first
/// row: it lets all of them through or throws.
pub fn statement(insert: &Insert, format: Format) -> Result<String, native::Error> {
    let format = format.name();
    let schema = insert.batch.schema();
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
            batch: RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap().into(),
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

    #[test]
    fn a_long_statement_heads_the_body() {
        let request = |insert: &Insert| {
            let statement = statement(insert, Format::Native).unwrap();
            Request::new(&statement, insert.batch.columns().unwrap(), (Format::Native, Compression::None))
                .unwrap()
        };
        let short = request(&insert(1));
        assert!(short.statement().is_some() && short.query_bytes_max().is_none());
        let insert = insert(20_000);
        let long = request(&insert);
        assert!(long.statement().is_none() && long.body.starts_with(b"INSERT INTO `d`.`t` (`c\\`0`, "));
        assert!(long.query_bytes_max().is_some());
        let batch = insert.batch.columns().unwrap();
        let data = native::encode(&batch).unwrap();
        assert!(long.body.ends_with(&[b" FORMAT Native\n", data.as_ref()].concat()));
        assert_eq!(long.bytes_raw, u64::try_from(data.len()).unwrap());
        assert_eq!(long.batch(batch.schema_ref()).unwrap(), batch);
    }
}
