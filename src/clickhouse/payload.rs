//! The rows of an insert: columns until they are sent for the first time, from then on the bytes that are sent.
//!
//! Refuses to hold both: encoding lets go of the columns, and every attempt takes the same bytes (invariant I3). Who
//! needs rows of it once more has them read back.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use parking_lot::Mutex;

use super::config::{Compression, Format};
use super::error::Error;
use super::native;
use super::request::Request;

/// Rows for one table, with the type for the wire in each field's metadata. Clones share everything.
#[derive(Clone, Debug)]
pub struct Payload(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    schema: SchemaRef,
    rows: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Columns(RecordBatch),
    /// With the batch beside it only if it cannot be read back.
    Encoded(Arc<Request>, Option<RecordBatch>),
    /// Encoding has failed halfway, which no input can cause; nothing of it can be sent any more.
    Broken,
}

impl From<RecordBatch> for Payload {
    fn from(batch: RecordBatch) -> Self {
        let (schema, rows) = (batch.schema(), batch.num_rows());
        Payload(Arc::new(Shared { schema, rows, state: Mutex::new(State::Columns(batch)) }))
    }
}

impl Default for Payload {
    /// No rows of no columns.
    fn default() -> Self {
        RecordBatch::new_empty(Arc::new(Schema::empty())).into()
    }
}

impl Payload {
    pub fn rows(&self) -> usize {
        self.0.rows
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    /// The columns, as long as they are not encoded.
    pub fn columns(&self) -> Option<RecordBatch> {
        match &*self.0.state.lock() {
            State::Columns(batch) => Some(batch.clone()),
            State::Encoded(..) | State::Broken => None,
        }
    }

    /// Bytes of the body once it is encoded.
    pub fn body_bytes(&self) -> Option<usize> {
        match &*self.0.state.lock() {
            State::Encoded(request, None) => Some(request.body.len()),
            State::Columns(_) | State::Encoded(_, Some(_)) | State::Broken => None,
        }
    }

    /// All rows as columns, read back out of the body if need be.
    ///
    /// # Errors
    /// They cannot be read back, or have not been encoded to the end.
    pub async fn batch(&self) -> Result<RecordBatch, Error> {
        match self.columns() {
            Some(batch) => Ok(batch),
            None => self.clone().aside(|payload| payload.0.state.lock().batch(&payload.0.schema)).await,
        }
    }

    /// What is sent with this statement, encoded if it is not yet.
    ///
    /// # Errors
    /// A batch that does not fit its own schema.
    pub(super) async fn request(
        &self,
        statement: String,
        encoding: (Format, Compression),
    ) -> Result<Arc<Request>, Error> {
        if let Some(State::Encoded(request, _)) = self.0.state.try_lock().as_deref()
            && request.sends(&statement, encoding)
        {
            return Ok(Arc::clone(request));
        }
        self.clone().aside(move |payload| payload.encode(&statement, encoding)).await
    }

    /// Encodes and compresses. Whoever else asks meanwhile waits, and a caller that does not wait to the end leaves it
    /// whole.
    fn encode(&self, statement: &str, encoding: (Format, Compression)) -> Result<Arc<Request>, Error> {
        let mut state = self.0.state.lock();
        if let State::Encoded(request, _) = &*state
            && request.sends(statement, encoding)
        {
            return Ok(Arc::clone(request));
        }
        let batch = state.batch(&self.0.schema)?;
        // A stream of Arrow holds other types than the batch, so the batch stays.
        let kept = (encoding.0 == Format::ArrowStream).then(|| batch.clone());
        *state = State::Broken;
        let request = Arc::new(Request::new(statement, batch, encoding)?);
        *state = State::Encoded(Arc::clone(&request), kept);
        Ok(request)
    }

    /// Works on a thread where that holds up nobody.
    async fn aside<T: Send + 'static>(
        self,
        work: impl FnOnce(&Payload) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // Only the end of the runtime cancels it.
        tokio::task::spawn_blocking(move || work(&self)).await.map_err(|_| Error::Closed)?
    }
}

impl State {
    fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, Error> {
        match self {
            State::Columns(batch) | State::Encoded(_, Some(batch)) => Ok(batch.clone()),
            State::Encoded(request, None) => Ok(request.batch(schema)?),
            State::Broken => Err(native::Error::Broken.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow_array::{ArrayRef, StringArray, UInt64Array};
    use arrow_schema::{DataType, Field};

    use super::*;

    const NATIVE: (Format, Compression) = (Format::Native, Compression::Lz4);

    fn batch() -> RecordBatch {
        let field = |name: &str, ty, wire: &str| {
            let metadata = HashMap::from([("clickhouse.type".to_owned(), wire.to_owned())]);
            Field::new(name, ty, false).with_metadata(metadata)
        };
        let schema =
            Schema::new(vec![field("n", DataType::UInt64, "UInt64"), field("s", DataType::Utf8, "String")]);
        let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..100_000));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..100_000).map(|n| n.to_string())));
        RecordBatch::try_new(Arc::new(schema), vec![numbers, texts]).unwrap()
    }

    #[tokio::test]
    async fn the_columns_go_with_the_first_encoding_and_come_back_out_of_the_body() {
        let made = batch();
        let column = Arc::downgrade(made.column(0));
        let payload = Payload::from(made);
        assert!(payload.columns().is_some() && payload.body_bytes().is_none());
        let first = payload.request("INSERT".to_owned(), NATIVE).await.unwrap();
        assert!(column.upgrade().is_none() && payload.columns().is_none());
        assert_eq!(payload.body_bytes(), Some(first.body.len()));
        let again = payload.request("INSERT".to_owned(), NATIVE).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again), "retries take the same bytes");
        assert_eq!(payload.batch().await.unwrap(), batch());

        let elsewhere = payload.request("INSERT INTO other".to_owned(), NATIVE).await.unwrap();
        assert_eq!(elsewhere.body, first.body, "the statement goes in the address");
        let stream =
            payload.request("INSERT".to_owned(), (Format::ArrowStream, Compression::None)).await.unwrap();
        assert_ne!(stream.body, first.body);
        assert_eq!(payload.batch().await.unwrap(), batch());
    }

    #[tokio::test]
    async fn who_does_not_wait_leaves_it_whole_and_two_at_a_time_send_the_same() {
        let payload = Payload::from(batch());
        let given_up = payload.request("INSERT".to_owned(), NATIVE);
        // Looked at once and let go, whether the other thread was quick or not.
        let _ = futures_util::FutureExt::now_or_never(given_up);
        let (one, other) = tokio::join!(
            payload.request("INSERT".to_owned(), NATIVE),
            payload.request("INSERT".to_owned(), NATIVE),
        );
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
    }

    #[tokio::test]
    async fn what_could_not_be_encoded_is_never_taken_for_sent() {
        let schema = Schema::new(vec![Field::new("n", DataType::UInt64, false)]);
        let column: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
        let payload = Payload::from(RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap());
        for _ in 0..2 {
            assert!(payload.request("INSERT".to_owned(), NATIVE).await.is_err());
            assert!(payload.batch().await.is_err() && payload.rows() == 1);
        }
    }
}
