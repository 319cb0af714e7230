//! The dashboard of the built program, asked as its page asks it.

mod changing;
mod client;
mod protecting;
mod reading;

use crate::watching::{WAIT_MAX, wait_for};
