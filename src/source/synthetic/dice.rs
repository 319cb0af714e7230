//! Draws that are the same on every machine and with every version of the random number crates: only whole
//! 64-bit words are taken from `ChaCha8`, whose stream is a standard.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// A stream of draws that a text decides.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of this seed.
    pub(super) fn new(seed: &str) -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(Uuid::new_v5(&Uuid::NAMESPACE_URL, seed.as_bytes()).as_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `end`; 0 where `end` is 0. The high half of a product, whose bias is below 2⁻³².
    pub(super) fn below(&mut self, end: u32) -> u32 {
        (((self.0.next_u64() >> 32) * u64::from(end)) >> 32) as u32
    }

    /// A number from `first` to `last`, both included.
    pub(super) fn between(&mut self, first: u32, last: u32) -> u32 {
        first + self.below(last - first + 1)
    }

    /// A point in `range_ms`.
    pub(super) fn time(&mut self, range_ms: &std::ops::Range<i64>) -> i64 {
        let width = u64::try_from(range_ms.end - range_ms.start).unwrap_or(1).max(1);
        range_ms.start + i64::try_from(self.0.next_u64() % width).unwrap_or(0)
    }

    /// One of `items`, which are never none.
    pub(super) fn pick<T: Copy + Default>(&mut self, items: &[T]) -> T {
        let at = self.below(u32::try_from(items.len()).unwrap_or(u32::MAX));
        items.get(at as usize).copied().unwrap_or_default()
    }

    /// Whether an event of this probability happened.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// A version 4 UUID.
    pub(super) fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.0.next_u64(), self.0.next_u64());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid()
    }

    /// `pattern` with `#` replaced by a digit, `%` by a digit other than 0 and `@` by a capital letter.
    pub(super) fn fill(&mut self, pattern: &str) -> String {
        pattern.chars().map(|place| self.place(place)).collect()
    }

    fn place(&mut self, place: char) -> char {
        let (first, width) = match place {
            '#' => (b'0', 10),
            '%' => (b'1', 9),
            '@' => (b'A', 26),
            other => return other,
        };
        char::from(first + u8::try_from(self.below(width)).unwrap_or(0))
    }

    /// This many lower-case hexadecimal digits, a multiple of 8.
    pub(super) fn hex(&mut self, digits: usize) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(digits);
        while text.len() < digits {
            // Writing to a String cannot fail.
            let _ = write!(text, "{:08x}", self.0.next_u64() >> 32);
        }
        text
    }

    /// This many letters and digits.
    pub(super) fn alphanumeric(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..length).map(|_| char::from(ALPHABET[self.below(62) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_is_frozen() {
        let mut dice = Dice::new("userpipe");
        let drawn = (dice.below(1000), dice.fill("#%@-x"), dice.hex(8), dice.alphanumeric(4), dice.between(7, 7));
        assert_eq!(drawn, (597, "96J-x".to_owned(), "83f761ea".to_owned(), "1NuB".to_owned(), 7));
        assert!((0..1000).all(|_| (5..=9).contains(&dice.between(5, 9))));
        assert!((0..1000).all(|_| (-5..5).contains(&dice.time(&(-5..5)))));
    }
}
