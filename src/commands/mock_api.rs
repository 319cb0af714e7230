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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: std::net::SocketAddr, data: Option<&str>) -> MockApiArgs {
        let data = data.map(Into::into);
        MockApiArgs { listen, data, seed: "s".to_owned(), fault: Vec::new(), limit: 1 }
    }

    #[tokio::test]
    async fn it_ends_with_its_token() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        run(&args(([127, 0, 0, 1], 0).into(), None), shutdown).await.expect("a clean end");
    }

    #[tokio::test]
    async fn what_keeps_it_from_serving_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound");
        let error = run(&args(address, None), CancellationToken::new()).await.expect_err("it is taken");
        assert_eq!(error.kind(), Kind::LocalIo);
        assert!(error.to_string().starts_with(&format!("cannot listen at {address}: ")), "{error}");
        let error = run(&args(address, Some("no/such/directory")), CancellationToken::new()).await;
        let error = error.expect_err("no such directory");
        assert!(error.to_string().starts_with("cannot read recorded users at no/such/directory: "), "{error}");
    }
}
