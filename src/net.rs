//! Whether an address can be reached at all: the name resolves, and something accepts the connection.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Why an address cannot be reached.
#[derive(Debug)]
pub enum Unreached {
    /// Its name means no address here.
    Unresolved(io::Error),
    /// Its last address did not accept the connection.
    Refused(io::Error),
    /// Nothing came within this time.
    Silent(Duration),
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(error) => write!(f, "cannot resolve the name: {error}"),
            Self::Refused(error) => write!(f, "{error}"),
            Self::Silent(limit) => write!(f, "no answer within {}", humantime::format_duration(*limit)),
        }
    }
}

/// Opens a TCP connection to `address` (`host:port`) and closes it again, within `limit`. Every address that the name has is tried.
///
/// # Errors
/// Says which step failed.
pub async fn reach(address: &str, limit: Duration) -> Result<(), Unreached> {
    let deadline = Instant::now() + limit;
    let silent = |_| Unreached::Silent(limit);
    let looked_up = timeout_at(deadline, tokio::net::lookup_host(address)).await.map_err(silent)?;
    let mut last = Unreached::Unresolved(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for place in looked_up.map_err(Unreached::Unresolved)? {
        match timeout_at(deadline, TcpStream::connect(place)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = Unreached::Refused(error),
            Err(_) => return Err(Unreached::Silent(limit)),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn each_step_has_its_own_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        reach(&address, LIMIT).await.expect("somebody listens");
        drop(listener);
        let refused = reach(&address, LIMIT).await.expect_err("nobody does any more");
        assert!(matches!(refused, Unreached::Refused(_)), "{refused}");
        let unresolved = reach("no-such-host.invalid:9092", LIMIT).await.expect_err("no such name");
        assert!(unresolved.to_string().starts_with("cannot resolve the name: "), "{unresolved}");
    }
}
