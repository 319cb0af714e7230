//! The API's limit: users per address, all counts reset at the end of a fixed window.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The window, as the API has it.
const WINDOW: Duration = Duration::from_mins(5);
/// Addresses that are counted; past it the window starts anew.
const ADDRESSES_MAX: usize = 10_000;

/// Users that each address asked for in this window.
#[derive(Debug)]
pub(super) struct Limit {
    users_max: u64,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    users: HashMap<IpAddr, u64>,
}

impl Limit {
    pub(super) fn new(users_max: u64) -> Self {
        Self { users_max, window: Mutex::new(Window { started: Instant::now(), users: HashMap::new() }) }
    }

    /// Counts `results` users, or tells how many there were already. A refused request is not counted, and the last
    /// one may go past the limit, as with the API.
    pub(super) fn admit(&self, address: IpAddr, results: usize) -> Result<(), u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.started.elapsed() >= WINDOW || window.users.len() >= ADDRESSES_MAX {
            *window = Window { started: Instant::now(), users: HashMap::new() };
        }
        let users = window.users.entry(address).or_default();
        if *users >= self.users_max {
            return Err(*users);
        }
        *users += results as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn users_are_counted_by_address_until_the_window_ends() {
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let limit = Limit::new(100);
        assert_eq!(limit.admit(one, 60), Ok(()));
        assert_eq!(limit.admit(one, 60), Ok(()), "the last one may go past it");
        assert_eq!(limit.admit(one, 1), Err(120));
        assert_eq!(limit.admit(one, 1), Err(120), "a refused request is not counted");
        assert_eq!(limit.admit(other, 1), Ok(()));
        tokio::time::advance(WINDOW).await;
        assert_eq!(limit.admit(one, 1), Ok(()));
    }
}
