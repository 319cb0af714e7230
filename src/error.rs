//! One error type: what was being done, to what, what went wrong, what to try next, and the exit code.
//!
//! An error is for the person at the terminal first. Its [`Display`](std::fmt::Display) is one line without the
//! hint; the hint is printed on a line of its own by [`Error::report`].

use std::error::Error as StdError;
use std::fmt;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What helps where standard output cannot be written.
pub const STDOUT_HINT: &str = "free some disk space, or send the output elsewhere";

/// Why the process ends, as its exit code. The table is part of the interface (README, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Something failed that has no code of its own.
    Failed = 1,
    /// Wrong usage of the command line.
    Usage = 2,
    /// A health gate says no (`check`, `status`).
    Unhealthy = 10,
    /// `verify` found records that are nowhere.
    Hole = 11,
    /// The data given with `--input` cannot be used (`EX_DATAERR`).
    BadData = 65,
    /// A dependency cannot be reached (`EX_UNAVAILABLE`).
    Unreachable = 69,
    /// Local input or output failed, a full disk for example (`EX_IOERR`).
    LocalIo = 74,
    /// Stopped before the work was complete; what is not delivered is kept (`EX_TEMPFAIL`).
    Incomplete = 75,
    /// Credentials or a permission were refused (`EX_NOPERM`).
    Refused = 77,
    /// The configuration cannot work (`EX_CONFIG`).
    Config = 78,
}

impl Kind {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// An expected failure.
///
/// ```
/// use userpipe::error::{Error, Kind};
/// let e = Error::new(Kind::Unreachable, "cannot reach Kafka").at("localhost:9092").because("connection refused");
/// assert_eq!(e.to_string(), "cannot reach Kafka at localhost:9092: connection refused");
/// assert_eq!(e.kind().exit_code(), 69);
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    what: String,
    place: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<String>,
}

impl Error {
    /// An error of `kind`; `what` says what was being done ("cannot reach Kafka").
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, what: what.into(), place: None, source: None, hint: None }))
    }

    /// Where it happened: an address, a path, a table. Printed after "at".
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// The cause: another error, or words.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What to try: best the next command to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error under another exit code.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The kind, which carries the exit code.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What to try, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The lines for a terminal: `error: …`, then `hint: …` where there is one.
    pub fn report(&self) -> String {
        match self.hint_text() {
            Some(hint) => format!("error: {self}\nhint: {hint}"),
            None => format!("error: {self}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if let Some(place) = &self.0.place {
            write!(f, " at {place}")?;
        }
        // A cause often ends with its own cause's words; each is printed once.
        let mut printed = String::new();
        let mut cause = self.0.source.as_deref().map(|s| s as &dyn StdError);
        while let Some(error) = cause {
            let text = one_line(&error.to_string());
            if !text.is_empty() && !printed.contains(&text) {
                write!(f, ": {text}")?;
                printed.push_str(&text);
            }
            cause = error.source();
        }
        Ok(())
    }
}

/// Folds line breaks, so that an error stays one line whatever a dependency says.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::new(Kind::LocalIo, "input or output failed").because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_chain_is_one_line_and_says_nothing_twice() {
        let inner = Error::new(Kind::Failed, "broken\npipe");
        let outer = Error::new(Kind::LocalIo, "cannot write").at("/tmp/x").because(inner).hint("free some space");
        assert_eq!(outer.to_string(), "cannot write at /tmp/x: broken pipe");
        assert_eq!(outer.report(), "error: cannot write at /tmp/x: broken pipe\nhint: free some space");
        assert_eq!(outer.kind().exit_code(), 74);
    }
}
