//! A strict JSON reader over text that is known to be UTF-8 (RFC 8259).
//!
//! Refuses to know tables and columns, to build values, and to be lenient: no BOM, no NaN, no trailing
//! commas, no lone surrogates, nothing after the value. It allocates only where a string has escapes.

pub mod cursor;
pub mod keys;
pub mod number;
mod string;

pub use cursor::Cursor;
pub use keys::Keys;
pub use number::Number;
