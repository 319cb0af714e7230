//! The Random User API's rules and its faults, over synthetic or recorded users.

use std::str::FromStr;

/// A way to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault;

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Err(format!("unknown fault {text}"))
    }
}
