//! Looking at what the stages hold, for the commands that tell about it. Reads only.
//!
//! - [`dead_letters`]: what a dead letter says of itself
//! - [`trace`]: the way of one user
//! - [`verify`]: whether every user is accounted for

pub mod dead_letters;
pub mod trace;
pub mod verify;

pub use dead_letters::{DeadLetter, Origin};
