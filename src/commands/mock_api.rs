//! `mock-api`: serve the Random User API's rules and faults.

use std::io::Write;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::MockApiArgs;
use crate::error::{Error, Kind, Result};
use crate::mock_api::{MockApi, PATH, Recorded, Users, serve};

/// Serves until `shutdown`. The first line on stdout is the URL for `--api-url`.
///
/// # Errors
/// [`Kind::LocalIo`] for an address that cannot be listened on and for files that cannot be read,
/// [`Kind::BadData`] for files without users.
pub async fn run(args: &MockApiArgs, shutdown: CancellationToken) -> Result<()> {
    let users = match &args.data {
        Some(directory) => {
            let recorded = Recorded::read(directory)?;
            tracing::info!("serving {} recorded users of {}", recorded.count(), directory.display());
            Users::Recorded(recorded)
        }
        None => Users::Synthetic(args.seed.clone()),
    };
    let failed = |e| {
        Error::new(Kind::LocalIo, "cannot listen")
            .at(args.listen.to_string())
            .because(e)
            .hint("--listen 127.0.0.1:0 takes a free port")
    };
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    announce(&format!("http://{address}{PATH}"))?;
    let options = MockApi { users, faults: args.fault.clone(), limit: args.limit, requests: Arc::default() };
    serve(listener, options, shutdown.cancelled_owned()).await
}

/// Prints the URL at once, so that a script that starts the mock can read it. A closed pipe is not an error.
fn announce(url: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{url}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::LocalIo, "cannot print the URL").because(error))
        }
        _ => Ok(()),
    }
}
