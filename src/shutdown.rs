//! SIGINT and SIGTERM: the first asks for a drain, the second quits at once.

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};

/// Installs the signal handlers and returns the token that the first signal cancels.
///
/// A second signal ends the process with 75 ([`Kind::Incomplete`]): what was not delivered is kept by the
/// ledger and by the uncommitted offsets.
pub fn on_signal() -> Result<CancellationToken, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |e| Error::new(Kind::Failed, "cannot install signal handlers").because(e);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let token = CancellationToken::new();
    let drain = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {},
                _ = terminate.recv() => {},
            }
        };
        next().await;
        tracing::info!("stopping: finishing what is in flight (a second signal quits at once)");
        drain.cancel();
        next().await;
        tracing::warn!("second signal: quitting at once; what is not delivered is kept");
        std::process::exit(i32::from(Kind::Incomplete.exit_code()));
    });
    Ok(token)
}
