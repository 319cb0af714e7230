//! What is wrong with the text of an expression, with a caret under the place.

use std::fmt;

use jaq_core::compile::Undefined;
use jaq_core::load::{lex, parse};

/// The longest part of a line that is shown, in characters, on each side of the mistake.
const SHOWN_CHARS_MAX: usize = 70;

/// A mistake in an expression. Displayed, it is three lines: what is wrong, the line of the expression, and a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    what: String,
    /// The line of the expression, cut where it is long.
    line: String,
    /// Where in that line, in characters from 0.
    column: usize,
}

impl Mistake {
    /// A mistake at a byte of the expression; behind its end is its end.
    pub(super) fn at(expression: &str, byte: usize, what: impl Into<String>) -> Self {
        let at = expression.floor_char_boundary(byte);
        let from = expression[..at].rfind('\n').map_or(0, |end| end + 1);
        let until = expression[at..].find('\n').map_or(expression.len(), |end| at + end);
        let before = expression[from..at].chars().count();
        let cut = before.saturating_sub(SHOWN_CHARS_MAX);
        let line = expression[from..until].chars().skip(cut).take(before - cut + SHOWN_CHARS_MAX);
        // A tab is as wide as the terminal likes.
        let line = line.map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c }).collect();
        Self { what: what.into(), line, column: before - cut }
    }

    pub(super) fn of_lexer(expression: &str, (expected, found): &lex::Error<&str>) -> Self {
        match expected {
            lex::Expect::Delim(open) => {
                Self::at(expression, place(expression, open), format!("there is no {} to this", expected.as_str()))
            }
            _ => Self::at(expression, place(expression, found), format!("expected {}", expected.as_str())),
        }
    }

    pub(super) fn of_parser(expression: &str, (expected, found): &parse::Error<&str>) -> Self {
        let what = match found.split_whitespace().next() {
            Some(word) => format!("expected {}, found `{word}`", expected.as_str()),
            None => format!("expected {}, found the end", expected.as_str()),
        };
        Self::at(expression, place(expression, found), what)
    }

    pub(super) fn of_compiler(expression: &str, name: &str, undefined: &Undefined) -> Self {
        let what = match (undefined, name) {
            (Undefined::Filter(_), "now" | "localtime" | "strflocaltime") => {
                format!("`{name}` is left out: a record must become the same whenever and wherever it comes")
            }
            (Undefined::Filter(_), "env") | (Undefined::Var, "$ENV") => {
                format!("`{name}` is left out: a record must become the same wherever it comes")
            }
            (Undefined::Filter(_), "input" | "inputs" | "debug" | "stderr" | "halt" | "halt_error") => {
                format!("`{name}` is left out: an expression sees one record and does nothing but that")
            }
            (Undefined::Filter(0), _) => format!("there is no filter `{name}`"),
            (Undefined::Filter(arguments), _) => format!("there is no filter `{name}` with {arguments} arguments"),
            (undefined, _) => format!("there is no {} `{name}`", undefined.as_str()),
        };
        Self::at(expression, place(expression, name), what)
    }
}

/// Where `part` is in `whole`: its end, for a part of something else.
fn place(whole: &str, part: &str) -> usize {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    if start <= whole.len() { start } else { whole.len() }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}\n  {:width$}^", self.what, self.line, "", width = self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_under_the_place() {
        let mistake = Mistake::at(".a |\n.ü\tx + y", 10, "wrong");
        assert_eq!(mistake.to_string(), "wrong\n  .ü x + y\n      ^");
        assert_eq!(Mistake::at("", 0, "nothing").to_string(), "nothing\n  \n  ^");
        assert_eq!(Mistake::at("ab", 9, "the end").to_string(), "the end\n  ab\n    ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let mistake = Mistake::at(&"x".repeat(500), 250, "wrong");
        assert_eq!((mistake.line.len(), mistake.column), (2 * SHOWN_CHARS_MAX, SHOWN_CHARS_MAX));
    }
}
