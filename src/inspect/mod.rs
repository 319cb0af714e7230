//! Looking at what the stages hold, for the commands that tell about it. Reads only.
//!
//! - [`check`]: whether each dependency can be reached and fits
//! - [`dead_letters`]: what a dead letter says of itself

pub mod check;
pub mod dead_letters;

pub use dead_letters::{DeadLetter, Origin};
