//! The JSON of a record, and of nothing else: the 13 fields in their order, each a string, without blanks. A [`User`] keeps its
//! texts in it.
//!
//! Where a text needs an escape, the same bytes without it are still where the texts are, and no JSON any more.

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use uuid::Uuid;

use super::timestamp::{WRITTEN_BYTES, as_written};
use super::{COLUMNS, Extras, OPTIONAL_COLUMNS, Timestamp, User};

/// Bytes of an id as text.
pub(super) const ID_BYTES: usize = 36;

/// What stands before a field's value: the end of the value before it, and the field's name.
macro_rules! key {
    ($field:ident) => {
        concat!("\",\"", stringify!($field), "\":\"")
    };
}
pub(super) use key;

/// Of a [`key`] these are not there before the first field.
const NOT_FIRST: usize = 2;

/// The bytes of the [`key`] of a field.
pub(super) const fn key_bytes(field: &str) -> usize {
    field.len() + 6
}

/// Where a text is in a buffer. No record has 4 GiB: the bus takes 2 at the most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: place(start), end: place(end) }
    }

    /// The text.
    #[inline]
    pub(super) fn of(self, buffer: &str) -> &str {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Writes the fields of one record.
pub(super) struct Writer {
    buffer: String,
    needs_escape: bool,
}

impl Writer {
    pub(super) fn new(bytes: usize) -> Self {
        Self { buffer: String::with_capacity(bytes), needs_escape: false }
    }

    pub(super) fn id(&mut self, key: &str, id: Uuid) -> Uuid {
        self.key(key);
        self.buffer.push_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        id
    }

    pub(super) fn timestamp(&mut self, key: &str, at: Timestamp) -> Timestamp {
        self.key(key);
        // Digits and signs are ASCII.
        self.buffer.push_str(std::str::from_utf8(&at.written()).unwrap_or_default());
        at
    }

    pub(super) fn text(&mut self, key: &str, text: &str) -> Span {
        self.key(key);
        let start = self.buffer.len();
        self.buffer.push_str(text);
        self.needs_escape |= any(text, |byte| byte < b' ' || byte == b'"' || byte == b'\\');
        Span::new(start, self.buffer.len())
    }

    #[inline]
    fn key(&mut self, key: &str) {
        if self.buffer.is_empty() {
            self.buffer.push('{');
            self.buffer.push_str(&key[NOT_FIRST..]);
        } else {
            self.buffer.push_str(key);
        }
    }

    /// What was written, and whether it is JSON.
    pub(super) fn end(mut self) -> (ByteString, bool) {
        self.buffer.push_str("\"}");
        (self.buffer.into(), !self.needs_escape)
    }
}

/// Whether any byte is such. A fold is vectorized, and a search that ends early is not.
#[inline]
fn any(text: &str, is_such: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(0, |any, byte| any | u8::from(is_such(byte))) != 0
}

/// Reads what a [`Writer`] has written without a text that needs an escape; each step is `None` for all else.
pub(super) struct Reader<'b> {
    buffer: &'b str,
    at: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(buffer: &'b str) -> Option<Self> {
        // JSON has none of them, and what has none needs no escape but those of quotes and backslashes.
        (!any(buffer, |byte| byte < b' ')).then_some(Self { buffer, at: 0 })
    }

    pub(super) fn id(&mut self, key: &str) -> Option<Uuid> {
        let text = self.fixed(key, ID_BYTES)?;
        let is_upper = any(text, |byte| byte.is_ascii_uppercase());
        Uuid::try_parse(text).ok().filter(|_| !is_upper)
    }

    pub(super) fn timestamp(&mut self, key: &str) -> Option<Timestamp> {
        as_written(self.fixed(key, WRITTEN_BYTES)?)
    }

    pub(super) fn text(&mut self, key: &str) -> Option<Span> {
        self.key(key)?;
        let rest = self.buffer.get(self.at..)?;
        let end = self.at + memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
        let span = Span::new(self.at, end);
        self.at = end;
        Some(span)
    }

    /// Whether the record ends here.
    pub(super) fn end(self) -> Option<()> {
        (self.buffer.get(self.at..)? == "\"}").then_some(())
    }

    #[inline]
    fn fixed(&mut self, key: &str, bytes: usize) -> Option<&'b str> {
        self.key(key)?;
        let text = self.buffer.get(self.at..self.at + bytes)?;
        self.at += bytes;
        Some(text)
    }

    #[inline]
    fn key(&mut self, key: &str) -> Option<()> {
        let rest = self.buffer.get(self.at..)?;
        if self.at == 0 {
            rest.strip_prefix('{')?.strip_prefix(&key[NOT_FIRST..])?;
            self.at = 1 + key.len() - NOT_FIRST;
        } else {
            rest.strip_prefix(key)?;
            self.at += key.len();
        }
        Some(())
    }
}

impl User {
    /// The optional columns, where there are any.
    pub fn extras(&self) -> Option<&Extras> {
        self.extras.as_deref()
    }

    /// The same user with other optional columns.
    #[must_use]
    pub fn with_extras(self, extras: Option<Box<Extras>>) -> Self {
        Self { extras, ..self }
    }

    /// The id as text, as it is the record's key on the bus. No copy.
    pub fn key(&self) -> Bytes {
        let start = 1 + key_bytes(COLUMNS[0].name) - NOT_FIRST;
        self.buffer.as_bytes().slice(start..start + ID_BYTES)
    }

    /// The user's JSON, in one line: the 13 fields and the optional ones it has. No copy, where neither an escape nor an
    /// optional column is needed.
    pub fn wire(&self) -> Cow<'_, ByteString> {
        match &self.extras {
            None if self.is_wire => Cow::Borrowed(&self.buffer),
            // Strings, numbers and dates under names always serialize.
            Some(extras) if self.is_wire => {
                let optional = serde_json::to_string(extras).unwrap_or_default();
                match (self.buffer.strip_suffix('}'), optional.strip_prefix('{')) {
                    (Some(required), Some(optional)) if optional != "}" => {
                        Cow::Owned([required, ",", optional].concat().into())
                    }
                    _ => Cow::Borrowed(&self.buffer),
                }
            }
            _ => Cow::Owned(serde_json::to_string(self).unwrap_or_default().into()),
        }
    }
}

impl PartialEq for User {
    fn eq(&self, other: &Self) -> bool {
        self.fields() == other.fields() && self.extras == other.extras
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("User").field(&self.fields()).field(&self.extras).finish()
    }
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let optional = self.extras.iter().flat_map(|_| OPTIONAL_COLUMNS);
        for column in COLUMNS.iter().chain(optional) {
            if let Some(value) = self.value(column) {
                map.serialize_entry(column.name, &value)?;
            }
        }
        map.end()
    }
}
