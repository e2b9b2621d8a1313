//! Table care: how large tables are, how well they compress, and merging or writing their parts again.
//!
//! Refuses to guess what a codec would save: it writes a sample with it and looks. Whatever changes something, be it a
//! scratch table, is a command of its own (I9), and says what it did in parts and bytes.
//!
//! | what | where |
//! |---|---|
//! | sizes by database, table and partition | `sizes` |
//! | columns, their codecs, and advice | `compression`, measured by `sample` |
//! | OPTIMIZE, and writing partitions again | `optimize`, `recompress` |

mod compression;
mod error;
mod optimize;
mod parts;
mod recompress;
mod sample;
mod sizes;

use super::desk::Desk;

pub use compression::{Advice, ColumnReport, Report, Survey};
pub use error::Error;
pub use optimize::{Optimizations, Optimize, Optimized, Targets};
pub use recompress::{Recompress, Recompressed, Recompressions};
pub use sample::Measured;
pub use sizes::{Disk, Size, Sizes, SizesOf, Sort};

/// Cares for tables on one server.
pub struct Care {
    desk: Desk,
}

impl Care {
    pub fn new(desk: Desk) -> Care {
        Care { desk }
    }
}
