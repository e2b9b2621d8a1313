//! An insert's body: its head and one block of rows, compressed while they are encoded.
//!
//! Refuses to hold the block uncompressed beside the body: it passes through in chunks that stay in the
//! core's own cache. The same batch always gives the same bytes (invariant I3).

use std::io::{self, BufReader, Read, Write};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::config::{Compression, Format};
use super::{arrow_stream, native};

const CHUNK_BYTES: usize = 64 << 10;

/// The longest length before a text.
const VARUINT_BYTES_MAX: usize = 10;

/// The level of zstd that is still faster than a fast network.
const ZSTD_LEVEL: i32 = 1;

/// More than a frame adds to a body in which nothing can be saved.
const FRAME_BYTES: usize = 1024;

#[derive(Debug)]
pub struct Body {
    pub bytes: Bytes,
    /// Bytes of the block before compression.
    pub raw_bytes: u64,
}

/// Encodes the batch behind `head`, which is sent as it is, and lets go of its columns on the way; a stream of Arrow
/// can only do that at its end.
///
/// # Errors
/// A batch that does not fit its own schema.
pub fn encode(
    head: &[u8],
    batch: RecordBatch,
    (format, compression): (Format, Compression),
) -> Result<Body, native::Error> {
    // Room for all of it, which is given back, takes less than growing: that holds old and new at a time.
    let room = Vec::with_capacity(head.len() + native::size_hint(&batch) + FRAME_BYTES);
    let mut encoder = Encoder::new(compression, room).map_err(native::Error::Compress)?;
    encoder.write_all(head).map_err(native::Error::Compress)?;
    let mut out = Out::new(&mut encoder);
    match format {
        Format::Native => native::write(batch, &mut out)?,
        Format::ArrowStream => arrow_stream::write(&batch, &mut out)?,
    }
    let raw_bytes = out.finish().map_err(native::Error::Compress)?;
    let mut bytes = encoder.finish().map_err(native::Error::Compress)?;
    bytes.shrink_to_fit();
    Ok(Body { bytes: bytes.into(), raw_bytes })
}

/// The batch of this schema back out of a body of Native that begins with so many bytes of a head.
///
/// # Errors
/// The body is not one that [`encode`] has made like that.
pub fn decode(
    body: &Bytes,
    head_bytes: usize,
    schema: &SchemaRef,
    compression: Compression,
) -> Result<RecordBatch, native::Error> {
    let body = body.as_ref();
    let source: Box<dyn Read> = match compression {
        Compression::None => Box::new(body),
        Compression::Lz4 => Box::new(FrameDecoder::new(body)),
        Compression::Zstd => Box::new(zstd::Decoder::new(body).map_err(native::Error::Back)?),
    };
    let mut source = BufReader::with_capacity(CHUNK_BYTES, source);
    let head = u64::try_from(head_bytes).unwrap_or(u64::MAX);
    io::copy(&mut source.by_ref().take(head), &mut io::sink()).map_err(native::Error::Back)?;
    native::read::read(&mut source, schema)
}

/// Compresses into memory. The checksum of a frame lets the server see a flipped bit, which the checksums of
/// TCP may not.
enum Encoder {
    None(Vec<u8>),
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(compression: Compression, room: Vec<u8>) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Encoder::None(room),
            Compression::Lz4 => {
                let info = FrameInfo::new()
                    .block_size(BlockSize::Max256KB)
                    .block_mode(BlockMode::Independent)
                    .content_checksum(true);
                Encoder::Lz4(Box::new(FrameEncoder::with_frame_info(info, room)))
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(room, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
        })
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::None(bytes) => Ok(bytes),
            Encoder::Lz4(encoder) => Ok(encoder.finish()?),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::None(encoder) => encoder.write(bytes),
            Encoder::Lz4(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // A frame that is flushed early has more blocks than it needs.
        Ok(())
    }
}

/// Collects small pieces into chunks. An error of the writer behind it is told at the end.
pub struct Out<'w> {
    chunk: Vec<u8>,
    writer: &'w mut dyn Write,
    written: io::Result<u64>,
}

impl<'w> Out<'w> {
    pub fn new(writer: &'w mut dyn Write) -> Self {
        Out { chunk: Vec::with_capacity(CHUNK_BYTES), writer, written: Ok(0) }
    }

    /// Bytes written in all.
    pub fn finish(mut self) -> io::Result<u64> {
        self.empty();
        self.written
    }

    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        if CHUNK_BYTES <= bytes.len() {
            self.empty();
            write(self.writer, &mut self.written, bytes);
        } else {
            self.make_room(bytes.len());
            self.chunk.extend_from_slice(bytes);
        }
    }

    /// So many times this byte.
    pub fn repeat(&mut self, byte: u8, times: usize) {
        let mut left = times;
        while 0 < left {
            self.make_room(1);
            let now = left.min(CHUNK_BYTES - self.chunk.len());
            self.chunk.resize(self.chunk.len() + now, byte);
            left -= now;
        }
    }

    /// The bytes behind their length.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        self.make_room(text.len() + VARUINT_BYTES_MAX);
        match u8::try_from(text.len()) {
            Ok(length) if length < 0x80 => self.chunk.push(length),
            _ => self.varuint(text.len()),
        }
        self.bytes(text);
    }

    /// Seven bits a byte, the lowest first.
    pub fn varuint(&mut self, value: usize) {
        let mut rest = value;
        while rest >= 0x80 {
            self.byte(low_byte(rest) | 0x80);
            rest >>= 7;
        }
        self.byte(low_byte(rest));
    }

    #[inline]
    pub fn byte(&mut self, byte: u8) {
        self.make_room(1);
        self.chunk.push(byte);
    }

    #[inline]
    fn make_room(&mut self, bytes: usize) {
        if CHUNK_BYTES < self.chunk.len() + bytes {
            self.empty();
        }
    }

    fn empty(&mut self) {
        write(self.writer, &mut self.written, &self.chunk);
        self.chunk.clear();
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes(bytes);
        Ok(bytes.len())
    }

    /// Whatever failed is told by [`Out::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(writer: &mut dyn Write, written: &mut io::Result<u64>, bytes: &[u8]) {
    let Ok(before) = written else { return };
    let before = *before;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    *written = writer.write_all(bytes).map(|()| before.saturating_add(length));
}

fn low_byte(value: usize) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read as _;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray, UInt32Array};
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    fn batch(numbers: impl Iterator<Item = u32>, text: &str) -> RecordBatch {
        let numbers: UInt32Array = numbers.collect();
        let texts = StringArray::from_iter_values(std::iter::repeat_n(text, numbers.len()));
        let field = |name: &str, ty, wire: &str| {
            Field::new(name, ty, false)
                .with_metadata(HashMap::from([("clickhouse.type".to_owned(), wire.to_owned())]))
        };
        let schema =
            Schema::new(vec![field("n", DataType::UInt32, "UInt32"), field("t", DataType::Utf8, "String")]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers) as ArrayRef, Arc::new(texts)]).unwrap()
    }

    #[test]
    fn a_frame_holds_the_body_and_costs_little_where_nothing_can_be_saved() {
        let long = "x".repeat(CHUNK_BYTES + 1);
        for (batch, saves) in [
            (batch((0..300_000).map(|n| n % 1000), "a"), true),
            (batch(0..3, &long), true),
            (batch((0..200_000).map(|_| rand::random()), ""), false),
        ] {
            let plain = encode(b"head\n", batch.clone(), (Format::Native, Compression::None)).unwrap();
            let block = native::encode(&batch).unwrap();
            assert_eq!(plain.raw_bytes, u64::try_from(block.len()).unwrap());
            assert_eq!(plain.bytes, [b"head\n", block.as_ref()].concat());
            for compression in [Compression::Lz4, Compression::Zstd] {
                let frame = encode(b"head\n", batch.clone(), (Format::Native, compression)).unwrap();
                assert_eq!(frame.raw_bytes, plain.raw_bytes);
                let most = if saves { plain.bytes.len() / 2 } else { plain.bytes.len() + FRAME_BYTES };
                assert!(frame.bytes.len() <= most, "{compression:?}: {}", frame.bytes.len());
                let mut back = Vec::new();
                match compression {
                    Compression::Lz4 => lz4_flex::frame::FrameDecoder::new(frame.bytes.as_ref())
                        .read_to_end(&mut back)
                        .unwrap(),
                    _ => zstd::Decoder::new(frame.bytes.as_ref()).unwrap().read_to_end(&mut back).unwrap(),
                };
                assert_eq!(back, plain.bytes, "{compression:?}");
                assert_eq!(decode(&frame.bytes, 5, batch.schema_ref(), compression).unwrap(), batch);
                assert_eq!(
                    encode(b"head\n", batch.clone(), (Format::Native, compression)).unwrap().bytes,
                    frame.bytes
                );
            }
        }
    }
}
