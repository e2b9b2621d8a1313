//! Digits, eight at a time in one machine word, and what texts begin with, sixteen bytes at a time.
//!
//! Refuses to know columns and signs. A word holds the text's first byte lowest.

/// Powers of ten that fit, for shifting decimal digits.
pub const TENS: [i64; 19] = {
    let mut tens = [1; 19];
    let mut n = 1;
    while n < 19 {
        #[allow(clippy::indexing_slicing, reason = "evaluated when compiling, where it cannot panic unseen")]
        {
            tens[n] = tens[n - 1] * 10;
        }
        n += 1;
    }
    tens
};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first eight bytes; what is missing at the end is zero, which is neither a digit nor a letter.
#[inline]
pub fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    }
}

/// The value of the decimal digits that the word begins with, and how many they are.
#[inline]
pub fn decimal(word: u64) -> (i64, usize) {
    let digits = word ^ (ONES * u64::from(b'0'));
    // The high bit marks what is above 9; a carry reaches later bytes only, and the first mark counts.
    let marks = (digits.wrapping_add(ONES * 0x76) | digits) & HIGHS;
    let count = marks.trailing_zeros() / 8;
    let value = match digits.checked_shl(64 - 8 * count) {
        Some(aligned) => eight(aligned),
        None => 0,
    };
    (value, usize::try_from(count).unwrap_or(0))
}

/// Eight digits, the first of them in the lowest byte.
#[inline]
fn eight(digits: u64) -> i64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let all = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    i64::try_from(all).unwrap_or(0)
}

/// Up to 18 decimal digits and how many they are; `None` for more, and where there is none.
#[inline]
pub fn digits(bytes: &[u8]) -> Option<(i64, usize)> {
    let (mut value, mut count) = decimal(word(bytes));
    if count == 8 {
        let (next, more) = decimal(word(bytes.get(8..)?));
        value = value * TENS.get(more)? + next;
        count += more;
        if more == 8 {
            let (next, more) = decimal(word(bytes.get(16..)?));
            // One beyond 18, so that what is too long does not look like a shorter number.
            if more > 2 {
                return None;
            }
            value = value * TENS.get(more)? + next;
            count += more;
        }
    }
    (count > 0).then_some((value, count))
}

/// Eight hexadecimal digits, the first of them the highest.
#[inline]
pub fn hexadecimal(word: u64) -> Option<u32> {
    let lower = word | (ONES * 0x20);
    let digit = word.wrapping_add(ONES * 0x50) & !word.wrapping_add(ONES * 0x46);
    let letter = lower.wrapping_add(ONES * 0x1f) & !lower.wrapping_add(ONES * 0x19);
    // Sums are only right where no byte was above 0x7f, and then none of them carries.
    if (word & HIGHS) != 0 || ((digit | letter) & HIGHS) != HIGHS {
        return None;
    }
    let nibbles = (word & (ONES * 0x0f)).wrapping_add(((word >> 6) & ONES).wrapping_mul(9)).swap_bytes();
    let bytes = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | (bytes >> 8)) & 0x0000_ffff_0000_ffff;
    u32::try_from((pairs | (pairs >> 16)) & 0xffff_ffff).ok()
}

/// A text that others are asked whether they begin with it, mostly short.
#[derive(Debug)]
pub struct Beginning {
    text: Box<[u8]>,
    /// The first sixteen bytes, and which bits of them there are.
    head: u128,
    mask: u128,
}

impl Beginning {
    pub fn new(text: &[u8]) -> Self {
        let (mut head, mut mask) = ([0; 16], [0; 16]);
        for ((head, mask), byte) in head.iter_mut().zip(&mut mask).zip(text) {
            *head = *byte;
            *mask = 0xff;
        }
        let (head, mask) = (u128::from_le_bytes(head), u128::from_le_bytes(mask));
        Beginning { text: text.into(), head, mask }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    #[inline]
    pub fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk::<16>() {
            Some(chunk) if u128::from_le_bytes(*chunk) & self.mask != self.head => false,
            Some(_) if self.text.len() <= 16 => true,
            // Longer, or too close to the end of the record for sixteen bytes.
            _ => bytes.starts_with(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_what_parsing_gives(text in "[0-9]{0,21}[^0-9]{0,9}") {
            let count = text.bytes().take_while(u8::is_ascii_digit).count();
            let expected = (1..=18).contains(&count).then(|| (text[..count].parse().unwrap(), count));
            prop_assert_eq!(digits(text.as_bytes()), expected);
        }

        #[test]
        fn any_bytes_end_at_the_first_that_is_no_digit(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let count = bytes.iter().take(8).take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(decimal(word(&bytes)).1, count);
        }

        #[test]
        fn it_begins_what_it_begins(text in "[a-c]{0,20}", other in "[a-c]{0,20}", whole in any::<bool>()) {
            let bytes = if whole { format!("{text}{other}") } else { other };
            prop_assert_eq!(Beginning::new(text.as_bytes()).begins(bytes.as_bytes()), bytes.starts_with(&text));
        }

        #[test]
        fn hexadecimal_is_what_parsing_gives(bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 8),
            "[0-9a-fA-F]{8}".prop_map(String::into_bytes),
            "[/-:@A-G`a-g]{8}".prop_map(String::into_bytes),
        ]) {
            let digits = bytes.iter().all(u8::is_ascii_hexdigit);
            let expected = std::str::from_utf8(&bytes).ok().filter(|_| digits);
            let expected = expected.and_then(|text| u32::from_str_radix(text, 16).ok());
            prop_assert_eq!(hexadecimal(word(&bytes)), expected);
        }
    }
}
