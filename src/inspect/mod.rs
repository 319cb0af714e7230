//! Looking at what the stages hold, for the commands that tell about it. Reads only.
//!
//! - [`check`]: whether each dependency can be reached and fits
//! - [`dead_letters`]: what a dead letter says of itself
//! - [`status`]: how the pipeline is now; [`latency`]: how long records take
//! - [`tap`]: a sample of the records that pass
//! - [`trace`]: the way of one user
//! - [`verify`]: whether every user is accounted for

pub mod check;
pub mod dead_letters;
pub mod latency;
pub mod status;
pub mod tap;
pub mod trace;
pub mod verify;

pub use dead_letters::{DeadLetter, Origin};
