//! A walk over JSON that a parser has found valid already: of a page, [`serde_json`] has checked every byte when it cut it
//! into users, and a second parser that checks them again is most of what formatting costs.
//!
//! The walk takes what the API writes. Whatever else it meets (another key, a value of another type) ends it with `None`, and
//! the caller asks `serde_json`, which knows the rest of the language and says what is wrong. So it decides
//! nothing alone: what it reads is what `serde_json` would have read.

use std::borrow::Cow;

/// A place in the JSON of one value.
pub(super) struct Cursor<'a> {
    json: &'a str,
    at: usize,
    is_plain: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        Self { json, at: 0, is_plain: true }
    }

    /// Whether all of it was read.
    pub(super) fn ended(&self) -> bool {
        self.at == self.json.len()
    }

    /// Whether whatever was read is written as `serde_json` writes it: no blanks between tokens, no escapes, no numbers but
    /// natural ones.
    pub(super) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The bytes that were read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Passes exactly these bytes.
    #[inline]
    pub(super) fn pass(&mut self, bytes: &'static str) -> Option<()> {
        let is_next = self.json.as_bytes().get(self.at..)?.starts_with(bytes.as_bytes());
        is_next.then(|| self.at += bytes.len())
    }

    /// Reads a string.
    pub(super) fn text(&mut self) -> Option<Cow<'a, str>> {
        self.token()?;
        let start = self.at;
        let (text, has_escapes) = self.string()?;
        if has_escapes {
            return serde_json::from_str(self.json.get(start..self.at)?).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(text))
    }

    /// Reads a string, or a natural number as it is written.
    pub(super) fn text_or_natural(&mut self) -> Option<Cow<'a, str>> {
        /// Fewer than those of the largest that `serde_json` keeps whole.
        const DIGITS_MAX: usize = 18;
        if self.token()? == b'"' {
            return self.text();
        }
        let number = self.scalar()?;
        (number.len() <= DIGITS_MAX && number.bytes().all(|byte| byte.is_ascii_digit()))
            .then_some(Cow::Borrowed(number))
    }

    /// Reads any value, as it is written.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        /// More than the API has, and less than what any parser takes.
        const DEPTH_MAX: usize = 32;
        self.token()?;
        let start = self.at;
        let mut depth = 0;
        loop {
            match self.token()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' if depth == DEPTH_MAX => return None,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = usize::checked_sub(depth, 1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => drop(self.scalar()?),
            }
            if depth == 0 {
                return self.json.get(start..self.at);
            }
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<&'a str> {
        let start = self.at;
        let rest = self.json.as_bytes().get(start..)?;
        let length =
            rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'));
        self.at = length.map_or(self.json.len(), |length| start + length);
        let scalar = self.json.get(start..self.at).filter(|scalar| !scalar.is_empty())?;
        self.is_plain &=
            scalar.bytes().all(|byte| byte.is_ascii_digit()) || matches!(scalar, "true" | "false" | "null");
        Some(scalar)
    }

    /// Reads a string: what is between its quotes, and whether there are escapes in it.
    #[inline]
    fn string(&mut self) -> Option<(&'a str, bool)> {
        self.take(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let rest = self.json.as_bytes().get(self.at..)?;
            self.at += quote_or_backslash(rest)?;
            if self.json.as_bytes().get(self.at) == Some(&b'"') {
                self.at += 1;
                self.is_plain &= !has_escapes;
                return Some((self.json.get(start..self.at - 1)?, has_escapes));
            }
            has_escapes = true;
            self.at += 2;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then(|| self.at += 1)
    }

    /// The first byte of what is next, past any blanks.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        loop {
            match *self.json.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => {
                    self.is_plain = false;
                    self.at += 1;
                }
                byte => return Some(byte),
            }
        }
    }
}

/// Where the first quote or backslash is, eight bytes at a time. Most strings are shorter than what vectors pay for.
#[inline]
fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The high bit of each byte that is zero; a wrong one can only stand above a right one.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut rest = text;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(text.len() - rest.len() + found.trailing_zeros() as usize / 8);
        }
        rest = after;
    }
    let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(text.len() - rest.len() + at)
}
