//! The source: pages of users, as the Random User API gives them.
//!
//! The contract is [`Source`]. A source hands out raw API users; the formatter ([`crate::record::format`]) makes
//! records of them, so that one bad user is rejected alone and the rest of its page is kept.

use serde_json::value::RawValue;

use crate::error::Result;
use crate::record::Timestamp;

/// One page of users.
#[derive(Debug)]
pub struct Page {
    /// The users, each a JSON object of the API (or whatever stood in its place).
    pub users: Vec<Box<RawValue>>,
    /// When the answer was complete.
    pub fetched_at: Timestamp,
}

/// A place to get users from.
pub trait Source: Send {
    /// The next page of at most `count` users (1 or more); never empty. Pages go on from call to call.
    ///
    /// Retries what may pass, within limits; an error means that the source gave up for now.
    fn page(&mut self, count: usize) -> impl Future<Output = Result<Page>> + Send;
}
