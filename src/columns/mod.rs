//! Rows of one table as Arrow columns that can still be taken back.
//!
//! Refuses to know JSON, records and servers. The arrays it finishes are laid out as ClickHouse's wire
//! wants them, so that encoding is mostly copying:
//!
//! | ClickHouse | Arrow array | content |
//! |---|---|---|
//! | Int8–64, UInt8–64 | Int8–64, UInt8–64 | as is |
//! | Bool | UInt8 | 0, 1 |
//! | Enum8, Enum16 | Int8, Int16 | the values |
//! | Date, Date32, DateTime, DateTime64 | UInt16, Int32, UInt32, Int64 | days or ticks |
//! | Decimal to 9, to 18 digits | Int32, Int64 | unscaled |
//! | Int128/UInt128, Decimal to 38 digits | FixedSizeBinary(16) | little endian |
//! | Int256/UInt256, Decimal to 76 digits | FixedSizeBinary(32) | little endian |
//! | Float32, Float64 | Float32, Float64 | as is |
//! | String, JSON | Utf8 | bytes; JSON as its text |
//! | FixedString(n) | FixedSizeBinary(n) | padded with zero bytes |
//! | UUID | FixedSizeBinary(16) | two little-endian halves, high first |
//! | IPv4, IPv6 | UInt32, FixedSizeBinary(16) | number; network order |
//! | LowCardinality(T) | as T | |
//! | Nullable(T) | as T, with a null buffer, field nullable | |
//! | Array(T) | List | |
//! | Map(K, V) | List of Struct(key, value) | |
//! | Tuple | Struct | |
//! | Nested | one List per field, named `column.field` | |
//!
//! Each field's metadata [`WIRE_TYPE`] holds the type name for the wire: the column's ClickHouse type with
//! every `LowCardinality` taken off (the server converts).

/// Key of a field's metadata under which the ClickHouse type's name on the wire stands.
pub const WIRE_TYPE: &str = "clickhouse.type";
