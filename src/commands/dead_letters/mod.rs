//! `dead-letters`: the records that could not be written, with their reasons, and their way back to the topic.

mod list;
mod replay;

pub(super) use list::insert_bytes;

use super::Context;
use crate::cli::{DeadLettersAction, DeadLettersArgs};
use crate::error::Result;
use crate::inspect::DeadLetter;

/// The characters of a key that a line shows: those of an id.
const KEY_CHARACTERS_MAX: usize = 36;

pub(super) async fn run(args: &DeadLettersArgs, context: &Context) -> Result<()> {
    match &args.action {
        DeadLettersAction::List(args) => tokio::select! {
            () = context.shutdown.cancelled() => Ok(()),
            listed = list::run(*args, context) => listed,
        },
        DeadLettersAction::Replay(args) => replay::run(args, context).await,
    }
}

/// The record's key, for a line.
fn key(letter: &DeadLetter) -> String {
    letter.message.key.as_ref().map_or_else(unknown, |key| {
        let text = String::from_utf8_lossy(key);
        printable(&text.chars().take(KEY_CHARACTERS_MAX).collect::<String>())
    })
}

/// Where it was read first, for a line.
fn origin(letter: &DeadLetter) -> String {
    letter.origin.as_ref().map_or_else(unknown, |origin| format!("{}:{}", origin.partition, origin.offset))
}

fn unknown() -> String {
    "-".to_owned()
}

/// Without characters that end a line or command a terminal: the texts come from strangers.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_command_the_terminal() {
        assert_eq!(printable("a\x1b[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
    }
}
