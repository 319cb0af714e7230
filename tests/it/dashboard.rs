//! The dashboard of the built program, asked as its page asks it.

mod changing;
mod client;
mod protecting;
mod reading;

use std::time::{Duration, Instant};

/// What does not come true within this time never will.
const WAIT_MAX: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Waits until there is something to be found.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain for {what:?}");
        std::thread::sleep(ASK_AGAIN);
    }
}
