//! The last lines of a file that grows: read from its end, and followed.
//!
//! Refuses to judge them: whether lines are as they were written is `verify`'s.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is read at a time, going backwards.
const BLOCK_BYTES: u64 = 16 << 10;

/// The end of a file.
#[derive(Debug, Default)]
pub struct End {
    /// Whole lines, oldest first, without their line ends.
    pub lines: Vec<String>,
    /// What stands behind the last line end.
    pub torn: Vec<u8>,
    /// Where that begins.
    pub whole_bytes: u64,
}

/// The last whole lines, at most so many.
///
/// # Errors
/// A file that cannot be read.
pub fn end(file: &File, lines_max: usize) -> io::Result<End> {
    end_within(file, file.metadata()?.len(), lines_max)
}

fn end_within(file: &File, length: u64, lines_max: usize) -> io::Result<End> {
    let (mut from, mut bytes) = (length, Vec::new());
    // One line end closes the last line, and one more must stand before the first that is wanted.
    while from > 0 && bytes.iter().filter(|byte| **byte == b'\n').count() <= lines_max {
        let begin = from.saturating_sub(BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(from - begin).unwrap_or_default()];
        file.read_exact_at(&mut block, begin)?;
        block.extend_from_slice(&bytes);
        (from, bytes) = (begin, block);
    }
    let (whole, torn) = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => bytes.split_at(last + 1),
        None => (&[][..], bytes.as_slice()),
    };
    let all: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let wanted = all.iter().rev().take(lines_max).rev();
    Ok(End {
        lines: wanted.map(|line| String::from_utf8_lossy(line.trim_ascii_end()).into_owned()).collect(),
        whole_bytes: length.saturating_sub(u64::try_from(torn.len()).unwrap_or_default()),
        torn: torn.to_vec(),
    })
}

/// Reads a file on, from where it was read to.
#[derive(Debug)]
pub struct Follower {
    file: File,
    at: u64,
}

impl Follower {
    /// The last lines, and a follower that goes on behind them.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(path: &Path, lines_max: usize) -> io::Result<(Vec<String>, Follower)> {
        let file = File::open(path)?;
        let end = end(&file, lines_max)?;
        Ok((end.lines, Follower { file, at: end.whole_bytes }))
    }

    /// The whole lines that came since, at most a block of them.
    ///
    /// # Errors
    /// A file that cannot be read, or one that became shorter.
    pub fn more(&mut self) -> io::Result<Vec<String>> {
        let length = self.file.metadata()?.len();
        let left = length.checked_sub(self.at).ok_or_else(|| io::Error::other("it became shorter"))?;
        // A line may be longer than a block.
        let mut wanted = left.min(BLOCK_BYTES);
        loop {
            let mut bytes = vec![0; usize::try_from(wanted).unwrap_or_default()];
            self.file.read_exact_at(&mut bytes, self.at)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(last + 1);
                self.at += u64::try_from(bytes.len()).unwrap_or_default();
                return Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect());
            }
            if wanted == left {
                return Ok(Vec::new());
            }
            wanted = left.min(wanted.saturating_mul(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_is_found_whatever_the_length_of_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        for long in [1, 100, 40_000] {
            let lines: Vec<String> = (0..9).map(|n| format!("{n}{}", "x".repeat(long))).collect();
            std::fs::write(&path, lines.join("\n") + "\ntorn").unwrap();
            let file = File::open(&path).unwrap();
            for wanted in [0, 1, 2, 9, 20] {
                let end = end(&file, wanted).unwrap();
                assert_eq!(end.lines, lines[9_usize.saturating_sub(wanted)..], "{long} {wanted}");
                assert_eq!((end.torn.as_slice(), end.whole_bytes), (&b"torn"[..], 9 * (long as u64 + 2)));
            }
        }
        std::fs::write(&path, "").unwrap();
        let end = end(&File::open(&path).unwrap(), 3).unwrap();
        assert!(end.lines.is_empty() && end.torn.is_empty() && end.whole_bytes == 0);
    }

    #[test]
    fn a_follower_tells_each_whole_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "a\nb\nc").unwrap();
        let (lines, mut follower) = Follower::open(&path, 1).unwrap();
        assert_eq!(lines, ["b"]);
        assert!(follower.more().unwrap().is_empty());
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let long = "d".repeat(50_000);
        write!(file, "c\n{long}\ne").unwrap();
        assert_eq!(follower.more().unwrap(), ["cc"]);
        assert_eq!(follower.more().unwrap(), [long]);
        assert!(follower.more().unwrap().is_empty());
        file.set_len(1).unwrap();
        assert!(follower.more().is_err());
    }
}
