//! `--where` and `--map`: which records go on, and what becomes of them, said in the jq language.
//!
//! The contract is [`Transform`]: compiled once, shared by every batch in flight, applied to one user after another. A
//! filter sees the record as it is on the wire, and what a mapping makes is read as a record from the wire is. Both give
//! the same for the same record whenever it comes, so that a second delivery ends in the same table.
//!
//! - `expression`: one expression of the language, compiled and evaluated; `mistake`: what is wrong with its text, and where
//! - `charged`: the program with a check after each term that makes a value larger
//! - `budget`: the limits of one evaluation, and what ends one that goes over them
//! - `value`: between a user and a value of the language

mod budget;
mod charged;
mod expression;
mod mistake;
mod value;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::encoding::Codec;
use crate::record::{User, With};
use expression::Expression;

pub use mistake::Mistake;

/// A record that takes this long is given up with its thread. The limits of [`budget`] end nearly everything far sooner;
/// what is left is one single step that takes for ever, as a hostile regular expression can.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// The longest reason, in characters: the interpreter quotes values.
const REASON_CHARS_MAX: usize = 300;

/// The flag of a filter.
pub const WHERE: &str = "--where";
/// The flag of a mapping.
pub const MAP: &str = "--map";

/// What is done to each record: first the filter, then the mapping.
#[derive(Debug)]
pub struct Transform {
    where_: Option<Arc<Expression>>,
    map: Option<Expression>,
    codec: Codec,
}

/// What became of a user.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It goes on, as the mapping made it.
    Keep(User),
    /// The filter dropped it.
    Filtered,
}

impl Transform {
    /// Compiles what is given; `None` where that is nothing. `with` are the optional columns that a mapping may fill.
    ///
    /// # Errors
    /// The flag, and the mistake in its expression.
    pub fn compile(
        where_: Option<&str>,
        map: Option<&str>,
        with: With,
    ) -> Result<Option<Self>, (&'static str, Mistake)> {
        let compile = |flag: &'static str, text: Option<&str>| {
            text.map(|text| Expression::compile(text).map_err(|mistake| (flag, mistake))).transpose()
        };
        let (where_, map) = (compile(WHERE, where_)?, compile(MAP, map)?);
        let is_any = where_.is_some() || map.is_some();
        Ok(is_any.then(|| Self { where_: where_.map(Arc::new), map, codec: Codec::new(false, with) }))
    }

    /// Its filter alone, for who judges what it lets through; `None` where it has none.
    pub fn filter(&self) -> Option<Self> {
        let where_ = Arc::clone(self.where_.as_ref()?);
        Some(Self { where_: Some(where_), map: None, codec: self.codec.clone() })
    }

    /// Judges one user. It may take long (seconds, for an expression that goes up to its limits): who must not wait calls
    /// [`Transform::apply_all`].
    ///
    /// # Errors
    /// Why the expression fails on this user: the flag and the reason, in one line.
    pub fn apply(&self, user: User) -> Result<Verdict, String> {
        let value = value::of(&user);
        if let Some(filter) = &self.where_ {
            // A clone of an object is a pointer.
            let outcome = filter.first(value.clone()).and_then(|(found, is_only)| match found {
                Some(_) if !is_only => Err("it gives more than one value".to_owned()),
                found => Ok(found.as_ref().is_some_and(value::is_true)),
            });
            if !outcome.map_err(|reason| failure(WHERE, &reason))? {
                return Ok(Verdict::Filtered);
            }
        }
        let Some(map) = &self.map else { return Ok(Verdict::Keep(user)) };
        let outcome = map.first(value).and_then(|(made, is_only)| match made {
            Some(made) if is_only => value::to_user(&made, &user, &self.codec),
            Some(_) => Err("it gives more than one value".to_owned()),
            None => Err("it gives no value; to drop records there is --where".to_owned()),
        });
        outcome.map(Verdict::Keep).map_err(|reason| failure(MAP, &reason))
    }

    /// Judges users in their order, away from the threads that keep connections alive. A user that an expression hangs on
    /// fails, and the others go on. Dropped before its end, it stops with the user it is at.
    pub async fn apply_all(self: &Arc<Self>, users: Vec<User>) -> Vec<Result<Verdict, String>> {
        let count = users.len();
        let queue = Arc::new(Mutex::new(VecDeque::from(users)));
        let mut verdicts = Vec::with_capacity(count);
        while verdicts.len() < count {
            // It holds no more than the verdicts of these users.
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let (transform, users) = (Arc::clone(self), Arc::clone(&queue));
            tokio::task::spawn_blocking(move || {
                while let Some(user) = next(&users) {
                    // Nobody waits for it any more: who does goes on with the queue.
                    if sender.send(transform.apply(user)).is_err() {
                        return;
                    }
                }
            });
            loop {
                match tokio::time::timeout(STUCK_AFTER, receiver.recv_many(&mut verdicts, count)).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(_) => {
                        let limit = STUCK_AFTER.as_secs();
                        verdicts.push(Err(format!("an expression did not end within {limit}s")));
                        break;
                    }
                }
            }
            if verdicts.len() < count && is_empty(&queue) {
                // The last one was taken and its verdict never came.
                verdicts.push(Err("the evaluation ended by itself".to_owned()));
            }
        }
        verdicts
    }
}

type Queue = Mutex<VecDeque<User>>;

fn next(queue: &Queue) -> Option<User> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn is_empty(queue: &Queue) -> bool {
    queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// The reason in one line of limited length.
fn failure(flag: &str, reason: &str) -> String {
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{flag}: {}…", &line[..end]),
        None => format!("{flag}: {line}"),
    }
}

#[cfg(test)]
mod tests;
