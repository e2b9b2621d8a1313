//! Tests of the whole decoder: per type and reason by tables, and by properties on random input.
//!
//! Knows no servers and no table files; tables are built by hand.

mod cases;
mod fast;
mod properties;
mod shape;

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{Config, Decoder, Rejection, Verdict};
use crate::columns::Columns;
use crate::record::{Offset, Partition, Record};
use crate::schema::model::{
    Coercion, Column, Constraints, Int, Source, Table, TimeFormat, Tombstones, Type, UnknownFields,
};

pub fn column(path: &str, ty: Type) -> Column {
    let source = match path {
        "$rest" => Source::Rest,
        path => Source::Path(path.split('.').map(str::to_owned).collect()),
    };
    Column {
        name: path.to_owned(),
        ty,
        source,
        default: None,
        required: false,
        constraints: Constraints::default(),
        coercion: Coercion::default(),
        time_format: TimeFormat::Iso,
        protect: None,
    }
}

pub fn table(columns: Vec<Column>) -> Table {
    Table {
        database: None,
        name: "t".into(),
        topics: vec!["t".into()],
        columns,
        unknown_fields: UnknownFields::Ignore,
        tombstones: Tombstones::Reject,
        engine: "MergeTree".into(),
        order_by: vec!["tuple()".into()],
        partition_by: None,
        subject_columns: Vec::new(),
        lifecycle: None,
        settings: Vec::new(),
        residual: None,
        keys: None,
    }
}

pub fn int(bits: u16, signed: bool) -> Type {
    Type::Int(Int { bits, signed })
}

pub fn nullable(ty: Type) -> Type {
    Type::Nullable(Box::new(ty))
}

pub struct Bench {
    pub decoder: Decoder,
    pub columns: Columns,
}

impl Bench {
    pub fn new(table: Table) -> Self {
        let decoder = Decoder::new(Arc::new(table), &Config::default()).unwrap();
        Bench { columns: decoder.columns(), decoder }
    }

    pub fn decode(&mut self, payload: &[u8]) -> Result<(), Rejection> {
        let record = Record {
            topic: "clicks",
            partition: Partition(3),
            offset: Offset(77),
            timestamp_ms: None,
            key: Some(b"k1"),
            payload: Some(payload),
        };
        match self.decoder.decode(&record, 1_700_000_000_000, &mut self.columns) {
            Verdict::Decoded => Ok(()),
            Verdict::Rejected(rejection) => Err(*rejection),
            Verdict::Filtered => panic!("no rule filters here"),
        }
    }

    pub fn finish(&mut self) -> RecordBatch {
        self.columns.finish().unwrap()
    }
}

/// Decodes one payload and gives the only row's values as text.
pub fn decoded(table: Table, payload: &str) -> Result<Vec<String>, Rejection> {
    let mut bench = Bench::new(table);
    bench.decode(payload.as_bytes())?;
    assert_eq!(bench.columns.rows(), 1);
    let batch = bench.finish();
    Ok(batch.columns().iter().map(|array| shown(array.as_ref(), 0)).collect())
}

/// A value of any layout of ours as text.
pub fn shown(array: &dyn arrow_array::Array, row: usize) -> String {
    use arrow_array::cast::AsArray;
    use arrow_array::types::*;
    use arrow_schema::DataType;
    if array.is_null(row) {
        return "null".into();
    }
    match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::FixedSizeBinary(_) => {
            array.as_fixed_size_binary().value(row).iter().map(|byte| format!("{byte:02x}")).collect()
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            let values: Vec<_> = (0..values.len()).map(|n| shown(values.as_ref(), n)).collect();
            format!("[{}]", values.join(","))
        }
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter().map(|field| shown(field.as_ref(), row));
            format!("({})", fields.collect::<Vec<_>>().join(","))
        }
        other => panic!("no layout of ours: {other}"),
    }
}
