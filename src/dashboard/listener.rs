//! The dashboard's connections: bounded in number and in silence, over TLS where there is a certificate.
//!
//! A handshake is nobody else's wait: each connection has a task of its own until it can be spoken with.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::endpoints::{Connection, Limit};

/// Connections at once; the next ones wait in the kernel's queue.
const PLACES_MAX: usize = 128;
/// A connection on which nothing could be written for so long is closed: its request never came to an end, or nobody
/// reads the answer. Longer than any handler may take; streams write every second.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Limit for a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// The pause after an accept that failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Connections that can be spoken with.
pub(super) struct Listening {
    ready: mpsc::Receiver<(Connection<Spoken>, SocketAddr)>,
    address: SocketAddr,
}

impl Listening {
    /// Accepts from `listener` until `stop`.
    pub(super) fn start(
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(1);
        let acceptor = tls.map(TlsAcceptor::from);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept(&listener, acceptor.as_ref(), &sender) => {}
            }
        });
        Ok(Self { ready, address })
    }
}

async fn accept(
    listener: &TcpListener,
    acceptor: Option<&TlsAcceptor>,
    ready: &mpsc::Sender<(Connection<Spoken>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(PLACES_MAX));
    loop {
        // It fails only where the semaphore is closed, which nobody does.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small events must not wait for one another; a socket that refuses that is only slower.
        let _ = stream.set_nodelay(true);
        let (acceptor, ready) = (acceptor.cloned(), ready.clone());
        tokio::spawn(async move {
            let stream: Spoken = match acceptor {
                None => Box::new(stream),
                Some(acceptor) => match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => {
                        tracing::debug!("a TLS handshake with {peer} failed: {error}");
                        return;
                    }
                    Err(_) => {
                        tracing::debug!("a TLS handshake with {peer} took longer than {HANDSHAKE_MAX:?}");
                        return;
                    }
                },
            };
            let connection = Connection::new(stream, Limit::Silence(SILENCE_MAX), Some(place));
            // Nobody waits for it any more when the server has ended.
            let _ = ready.send((connection, peer)).await;
        });
    }
}

impl Listener for Listening {
    type Io = Connection<Spoken>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection<Spoken>, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The server is ending.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A socket, or TLS over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Spoken = Box<dyn Stream>;

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;

    /// The clock is paused and goes on by itself where everybody waits: no real time passes.
    #[tokio::test(start_paused = true)]
    async fn silent_connections_lock_nobody_out() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "ok" }));
        let listening = Listening::start(listener, None, stop.clone())?;
        let serving = tokio::spawn(axum::serve(listening, router).into_future());
        let mut silent = Vec::new();
        for _ in 0..PLACES_MAX {
            silent.push(TcpStream::connect(address).await?);
        }
        let began = Instant::now();
        let mut late = TcpStream::connect(address).await?;
        late.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        late.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        assert!(began.elapsed() > SILENCE_MAX / 2, "it had to wait for a place");
        for mut stream in silent {
            assert_eq!(stream.read(&mut [0]).await?, 0, "closed without a word");
        }
        stop.cancel();
        serving.abort();
        Ok(())
    }
}
