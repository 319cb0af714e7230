//! Strings borrowed from the buffer they were parsed from, where JSON escapes allow it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A JSON string, borrowed unless it has escapes.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A JSON string or number, as text: `"0378"` stays `0378`, `378` becomes `378`.
///
/// The API gives post codes as numbers in most countries and as strings in some.
#[derive(Clone, Debug)]
pub struct NumberOrText<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for NumberOrText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = NumberOrText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }
            fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(NumberOrText(Cow::Borrowed(v)))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(NumberOrText(Cow::Owned(v.to_owned())))
            }
            fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
                Ok(NumberOrText(Cow::Owned(v.to_string())))
            }
            fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
                Ok(NumberOrText(Cow::Owned(v.to_string())))
            }
            fn visit_f64<E: Error>(self, v: f64) -> Result<Self::Value, E> {
                Ok(NumberOrText(Cow::Owned(v.to_string())))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_text_and_leading_zeros_survive() {
        let parse = |json: &'static str| serde_json::from_str::<NumberOrText<'_>>(json).map(|t| t.0.into_owned());
        assert_eq!(parse("\"0378\"").ok().as_deref(), Some("0378"));
        assert_eq!(parse("378").ok().as_deref(), Some("378"));
        assert_eq!(parse("-3").ok().as_deref(), Some("-3"));
        assert_eq!(parse(r#""SW1A 1AA""#).ok().as_deref(), Some("SW1A 1AA"));
        assert!(parse("true").is_err());
    }
}
