//! Looking at what the stages hold, for the commands that tell about it. Reads only.
//!
//! - [`check`]: whether each dependency can be reached and fits
//! - [`letters`]: the newest dead letters, and what they say of themselves
//! - [`scan`]: the records of a topic, from somewhere on
//! - [`schema`]: the statements that prepare the stores
//! - [`status`]: how the pipeline is now; [`latency`]: how long records take
//! - [`tap`]: a sample of the records that pass
//! - [`trace`]: the way of one user
//! - [`users`]: those that came last, each read back from the sink
//! - [`verify`]: whether every user is accounted for

pub mod check;
pub mod latency;
pub mod letters;
pub mod scan;
pub mod schema;
pub mod status;
pub mod tap;
pub mod trace;
pub mod users;
pub mod verify;

pub use crate::pipeline::replay::{DeadLetter, Origin};
